use super::*;

#[test]
fn paths_become_routes_and_the_rest_is_refused_as_discord_does() {
    assert_eq!(
        Route::of(&Method::POST, "/webhooks/5/tok").ok(),
        Some(Route::Execute(5, "tok".into()))
    );
    assert_eq!(
        Route::of(&Method::PUT, "/channels/1/messages/2/reactions/%E2%9C%85/@me").ok(),
        Some(Route::React(1, 2, "\u{2705}".into()))
    );
    let refused = |method, path| Route::of(&method, path).err().map(|a| a.status);
    assert_eq!(refused(Method::GET, "/oauth2/token"), Some(405));
    assert_eq!(refused(Method::GET, "/nothing/here"), Some(404));
    let snowflake = Route::of(&Method::GET, "/channels/abc").expect_err("refused");
    assert_eq!(snowflake.value().expect("JSON")["code"], 50035);
}

#[test]
fn authorization_headers_are_read() {
    assert!(matches!(Auth::read(None, "t"), Auth::None));
    assert!(matches!(Auth::read(Some("Bot t"), "t"), Auth::Bot));
    assert!(matches!(Auth::read(Some("Bot x"), "t"), Auth::Other));
    assert!(matches!(Auth::read(Some("Bearer x"), "t"), Auth::Bearer(t) if t == "x"));
    assert!(
        matches!(Auth::read(Some("Basic MTIzOnNlJTNBY3JldA=="), "t"), Auth::Basic(id, secret) if id == "123" && secret == "se:cret")
    );
    assert!(matches!(Auth::read(Some("Basic !!"), "t"), Auth::Other));
}

#[test]
fn multipart_bodies_give_their_payload() {
    let body =
        b"--XX\r\nContent-Disposition: form-data; name=\"payload_json\"\r\nContent-Type: application/json\r\n\r\n\
        {\"content\":\"a\"}\r\n--XX\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nbob\r\n--XX--\r\n";
    let value = multipart("multipart/form-data; boundary=XX", body);
    assert_eq!(value, serde_json::json!({"content": "a", "username": "bob"}));
}
