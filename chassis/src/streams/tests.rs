use std::collections::BTreeSet;

use super::*;

fn zone(number: u128) -> ZoneId {
    ZoneId::from_uuid(uuid::Uuid::from_u128(number))
}

#[test]
fn entry_ids_order_as_numbers_and_print_as_they_were_read() {
    let id = |text: &str| text.parse::<EntryId>().unwrap();
    assert!(id("9-2") < id("10-1"));
    assert!(id("10-2") < id("10-10"));
    assert_eq!(id("1526919030474-55").to_string(), "1526919030474-55");
    assert_eq!(id("7"), EntryId { ms: 7, seq: 0 });
    for wrong in ["", "-", "1-", "-1", "a-b", "1-2-3", "+", "$"] {
        assert!(wrong.parse::<EntryId>().is_err(), "{wrong}");
    }
}

#[test]
fn zones_spread_over_the_partitions_and_the_deployment_is_in_the_first() {
    let partitions = NonZeroU32::new(4).unwrap();
    let used: BTreeSet<u32> = (0..64)
        .map(|n| partition_of(Some(zone(n)), partitions))
        .collect();
    assert_eq!(used, BTreeSet::from([0, 1, 2, 3]));
    assert_eq!(partition_of(None, partitions), 0);
    assert_eq!(partition_of(Some(zone(7)), NonZeroU32::MIN), 0);
}
