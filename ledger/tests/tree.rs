//! The tree against its definition, and against every other leaf and place.

use ledger::leaf_hash;
use ledger::tree::{Hash, Inclusion, include, node_hash};

/// RFC 9162 §2.1.1, as it is written there.
fn root_by_definition(leaves: &[Vec<u8>]) -> Hash {
    if let [leaf] = leaves {
        return leaf_hash(leaf);
    }
    let mut split = 1;
    while split * 2 < leaves.len() {
        split *= 2;
    }
    let (left, right) = leaves.split_at(split);
    node_hash(&root_by_definition(left), &root_by_definition(right))
}

fn leaves(size: u8) -> Vec<Vec<u8>> {
    (0..size)
        .map(|number| vec![number; usize::from(number)])
        .collect()
}

#[test]
fn every_leaf_leads_to_the_root_of_the_definition() {
    assert!(include([]).is_none());
    for size in 1..70 {
        let leaves = leaves(size);
        let (root, ways) = include(leaves.iter().map(Vec::as_slice)).unwrap();
        assert_eq!(root, root_by_definition(&leaves), "{size} leaves");
        for (leaf, way) in leaves.iter().zip(&ways) {
            assert_eq!(way.root(&leaf_hash(leaf)), root);
            let again = Inclusion::new(way.index(), way.size(), way.path().to_vec());
            assert_eq!(again.as_ref(), Some(way));
        }
    }
}

#[test]
fn no_other_leaf_or_place_leads_there() {
    for size in 2..20 {
        let leaves = leaves(size);
        let (root, ways) = include(leaves.iter().map(Vec::as_slice)).unwrap();
        for (number, way) in ways.iter().enumerate() {
            for (other, leaf) in leaves.iter().enumerate() {
                let leads = way.root(&leaf_hash(leaf)) == root;
                assert_eq!(leads, number == other);
            }
            for index in 0..u32::from(size) {
                let moved = Inclusion::new(index, way.size(), way.path().to_vec());
                let leads =
                    moved.is_some_and(|moved| moved.root(&leaf_hash(&leaves[number])) == root);
                assert_eq!(leads, index == way.index());
            }
        }
    }
    assert!(Inclusion::new(2, 2, vec![[0; 32]]).is_none());
    assert!(Inclusion::new(0, 0, Vec::new()).is_none());
    assert!(Inclusion::new(0, 2, Vec::new()).is_none());
    assert!(Inclusion::new(0, 2, vec![[0; 32]; 2]).is_none());
}
