//! `baggage` (W3C Baggage §3): what a caller sends along for everybody behind it. A member named `caracal.*` reads like a
//! word of ours, and is taken out before the upstream sees it.

/// Whose members are ours.
const OURS: &[u8] = b"caracal.";

/// What is left of every value of `baggage` of one request without the members that are ours. None where it has none of
/// them, and may keep what it has; empty where nothing is left.
///
/// What is left is one value of visible ASCII. A member that is not of it is no member, and goes with ours.
pub(crate) fn without_ours(values: &[&[u8]]) -> Option<String> {
    let members = || {
        values
            .iter()
            .flat_map(|value| value.split(|byte| *byte == b','))
    };
    members().any(is_ours).then_some(())?;
    let kept = members()
        .filter(|member| !is_ours(member))
        .filter_map(|member| str::from_utf8(member.trim_ascii()).ok())
        .filter(|member| {
            !member.is_empty() && member.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        });
    Some(kept.collect::<Vec<_>>().join(","))
}

/// Whether a member is one of ours to whoever reads it: some readers decode names, ignore their case, and cut off
/// whatever they take for space.
fn is_ours(member: &[u8]) -> bool {
    let name = member
        .split(|byte| matches!(byte, b'=' | b';'))
        .next()
        .unwrap_or_default();
    let visible = Decoded(name).filter(u8::is_ascii_graphic);
    let mut start = visible.map(|byte| byte.to_ascii_lowercase());
    OURS.iter().all(|wanted| start.next() == Some(*wanted))
}

/// The bytes of a text in percent-encoding (RFC 3986 §2.1), where `+` may stand for a space. What is no code stands for
/// itself.
struct Decoded<'a>(&'a [u8]);

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        if let [b'%', high, low, rest @ ..] = self.0
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            self.0 = rest;
            return Some(high << 4 | low);
        }
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(if *byte == b'+' { b' ' } else { *byte })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_ours_stays_as_it_is() {
        for values in [
            &[][..],
            &[&b""[..]],
            &[b"tenant=a,user=b;ttl=1"],
            &[b"caracal=x, mycaracal.zone=y,,\xff"],
            &[b"note=caracal.zone", b"a;caracal.zone=1"],
        ] {
            assert_eq!(without_ours(values), None, "{values:?}");
        }
    }

    #[test]
    fn no_spelling_hides_a_member_of_ours() {
        for ours in [
            &b"caracal.zone=z"[..],
            b"caracal.=",
            b"caracal.actor",
            b"caracal.actor;p=1",
            b" \tCaracal.Zone = z ; p",
            b"c%61racal%2Ezone=z",
            b"%43aracal.zone=z",
            b"+caracal.zone=z",
            b"%20caracal.zone=z",
            b"%C2%A0caracal.zone=z",
            b"\xa0caracal.zone=z",
            b"\x00caracal.zone=z",
        ] {
            assert_eq!(without_ours(&[ours]).as_deref(), Some(""), "{ours:?}");
            let among = [b"a=1, ".as_slice(), ours, b" ,b=2;x=y,\xff=3"].concat();
            let values: [&[u8]; 2] = [&among, b"c=%32"];
            assert_eq!(without_ours(&values).as_deref(), Some("a=1,b=2;x=y,c=%32"));
        }
    }

    proptest! {
        #[test]
        fn once_taken_out_nothing_is_left_to_take(
            values in proptest::collection::vec(
                "(([ -~]|\\t|é){0,8}(caracal\\.|%63aracal%2e|CARACAL.)?[a-z=;,%+]{0,6}){0,4}",
                0..4,
            ),
        ) {
            let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
            if let Some(left) = without_ours(&values) {
                prop_assert_eq!(without_ours(&[left.as_bytes()]), None);
                prop_assert!(left.bytes().all(|byte| matches!(byte, b' '..=b'~')));
                let given = values.concat();
                for member in left.split(',').filter(|member| !member.is_empty()) {
                    let found = given.windows(member.len()).any(|window| window == member.as_bytes());
                    prop_assert!(found, "{member} was made up");
                }
            }
        }
    }
}
