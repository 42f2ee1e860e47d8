//! The page that Hookdeck shows: its script run for each kind of callback, against the table's word.

use codeferry::relay::hookdeck::wanted::PAGE;

use super::engine::{Engine, literal};

#[test]
fn the_hookdeck_page_says_the_right_thing_and_wipes_the_code() {
    let script = PAGE
        .split("<script>")
        .nth(1)
        .and_then(|rest| rest.split("</script>").next())
        .expect("a script");
    let shown = |query: &str| {
        let engine = Engine::bare();
        let stub = format!(
            "var wiped = []; var parts = {{ t: {{ textContent: 'Almost done' }}, p: {{}} }};
             var location = {{ search: {}, pathname: '/abc' }};
             var history = {{ replaceState: function (a, b, url) {{ wiped.push(url); }} }};
             var document = {{ getElementById: function (id) {{ return parts[id]; }} }}; ''",
            literal(query)
        );
        engine.run(&stub).expect("the stub");
        engine
            .run(&format!("{script}; parts.t.textContent + ' ' + wiped.join()"))
            .expect("it runs")
    };
    assert_eq!(shown("?code=abc&state=s1.x"), "Almost done /abc");
    assert_eq!(
        shown("?error=access_denied&error_description=no&state=x"),
        "Nothing was approved /abc"
    );
    assert_eq!(shown(""), "This is not a working address /abc");
    assert_eq!(shown("?state=x&encode=1"), "This is not a working address /abc");
}

#[test]
fn the_hookdeck_page_is_well_formed() {
    // Every element that is opened is closed in its order; an attribute's value stands in quotes.
    let mut open = Vec::new();
    let mut rest = PAGE;
    while let Some(at) = rest.find('<') {
        let end = rest[at..].find('>').expect("a tag ends") + at;
        let tag = &rest[at + 1..end];
        let name = tag.trim_start_matches('/').split([' ', '/']).next().expect("a name");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        assert_eq!(tag.matches('"').count(), 2 * tag.matches("=\"").count(), "{tag}");
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?}");
}
