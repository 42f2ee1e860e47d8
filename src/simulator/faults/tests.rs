use super::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

fn lost(fault: &Fault) -> bool {
    *fault == Fault::LostAnswer
}

#[test]
fn a_rule_skips_then_strikes_so_many_times_and_only_at_its_endpoint() {
    let mut list = FaultList::default();
    let mut rng = StdRng::seed_from_u64(1);
    list.add(FaultRule::on(Endpoint::Token, Fault::LostAnswer).times(2).after(1), 0);
    assert_eq!(list.take(Endpoint::Me, 0, &mut rng, lost), None);
    let struck: Vec<_> = (0..5)
        .map(|_| list.take(Endpoint::Token, 0, &mut rng, lost).is_some())
        .collect();
    assert_eq!(struck, [false, true, true, false, false]);
    assert_eq!(list.rules()[0].struck, 2);
    list.clear();
    assert!(list.rules().is_empty());
}

#[test]
fn a_rule_ends_with_its_time_and_follows_its_chance() {
    let mut list = FaultList::default();
    let mut rng = StdRng::seed_from_u64(1);
    list.add(
        FaultRule::on(Endpoint::Any, Fault::LostAnswer)
            .with_chance(0.5)
            .lasting(Duration::from_secs(1)),
        5_000_000,
    );
    let hits = (0..1_000)
        .filter(|_| list.take(Endpoint::Token, 5_500_000, &mut rng, lost).is_some())
        .count();
    assert!((400..600).contains(&hits), "{hits}");
    assert_eq!(list.take(Endpoint::Token, 6_000_000, &mut rng, lost), None);
}

#[test]
fn rules_are_read_from_json() {
    let rule: FaultRule = serde_json::from_value(json!({"endpoint": "token", "times": 1,
        "fault": {"fault": "status", "status": 502, "body": "html"}}))
    .expect("a rule");
    assert_eq!(
        rule.fault,
        Fault::Status {
            status: 502,
            body: FaultBody::Html,
            retry_after: None,
            after_work: false
        }
    );
    assert!(serde_json::from_value::<FaultRule>(json!({"endpoint": "token", "fault": {"fault": "nothing"}})).is_err());
    assert_eq!(Endpoint::GatewayUrl.name(), "gateway_url");
}

#[test]
fn answers_are_changed_and_errors_are_left_alone() {
    let user = Answer::json(
        200,
        &json!({"id": "1", "avatar": "a", "user": {"id": "2", "global_name": "x"}}),
    );
    let nulled = Fault::NullFields { fields: vec![] }.change(user).value().expect("JSON");
    assert_eq!(
        nulled,
        json!({"id": "1", "avatar": null, "user": {"id": "2", "global_name": null}})
    );
    let extended = Fault::UnknownFields
        .change(Answer::json(200, &json!([{"a": {}}])))
        .value()
        .expect("JSON");
    assert!(extended[0]["a"]["x_unheard_of"].is_object());
    let error = Fault::EmptyList.change(Answer::unauthorized()).value().expect("JSON");
    assert_eq!(error["message"], "401: Unauthorized");
    assert!(
        Fault::TruncatedJson
            .change(Answer::json(200, &json!({"a": 1})))
            .value()
            .is_none()
    );
}
