use super::*;

#[test]
fn a_uuid_has_one_form() {
    let text = "018f0000-0000-7000-8000-00000000000a";
    assert_eq!(ZoneId::parse(text).unwrap().to_string(), text);
    for wrong in [
        "",
        "018F0000-0000-7000-8000-00000000000A",
        "018f000000007000800000000000000a",
        "{018f0000-0000-7000-8000-00000000000a}",
        "018f0000-0000-7000-8000-00000000000a ",
    ] {
        assert!(ZoneId::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn resource_identifiers_keep_every_byte() {
    for text in ["https://A.example/x/", "urn:Example:1", "mcp://tools?x=1"] {
        assert_eq!(ResourceUri::parse(text).unwrap().as_str(), text);
    }
    for wrong in [
        "",
        "/relative",
        "https:",
        "https://a/#f",
        "https://a b",
        "1x:y",
        "https://é",
    ] {
        assert!(ResourceUri::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_issuer_is_a_url_without_trailing_slash() {
    assert!(Issuer::parse("https://sts.example/z/1").is_ok());
    for wrong in [
        "https://",
        "https://a/",
        "ftp://a",
        "https://a?x",
        "https://u@a",
        "https:///a",
    ] {
        assert!(Issuer::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn scopes_are_a_set() {
    let set = ScopeSet::parse("b a b").unwrap();
    assert_eq!(set.to_string(), "a b");
    assert!(ScopeSet::parse("a").unwrap().is_subset(&set));
    assert!(!ScopeSet::parse("a c").unwrap().is_subset(&set));
    assert_eq!(
        ScopeSet::parse("b c")
            .unwrap()
            .intersection(&set)
            .to_string(),
        "b"
    );
    for wrong in [" ", "a  b", " a", "a ", "a\"", "a\\", "é"] {
        assert!(ScopeSet::parse(wrong).is_err(), "{wrong:?}");
    }
}
