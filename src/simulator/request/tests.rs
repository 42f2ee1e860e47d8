use super::*;

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
