//! The Merkle tree of RFC 9162 §2.1 over leaves that are at hand: its root, and the way from a leaf to it.

use sha2::{Digest as _, Sha256};

use crate::leaf_hash;

/// A hash of the tree.
pub type Hash = [u8; 32];

/// The hash of an inner node (RFC 9162 §2.1.1): SHA-256 over a one byte and both sides.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update([1_u8]);
    hash.update(left);
    hash.update(right);
    hash.finalize().into()
}

/// Where a leaf is in a tree, and the hashes beside its way to the root (RFC 9162 §2.1.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inclusion {
    index: u32,
    size: u32,
    path: Vec<Hash>,
}

impl Inclusion {
    /// A way that may lead somewhere: the leaf lies within the tree, and there are as many hashes as its place has.
    pub fn new(index: u32, size: u32, path: Vec<Hash>) -> Option<Self> {
        let steps = steps(index, size)?.count();
        (path.len() == steps).then_some(Self { index, size, path })
    }

    /// The leaf's number, from 0.
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// How many leaves the tree has.
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// The hashes, from the leaf's side to the root's.
    pub fn path(&self) -> &[Hash] {
        &self.path
    }

    /// The root of the tree that has this leaf hash at this place (RFC 9162 §2.1.3.2).
    pub fn root(&self, leaf: &Hash) -> Hash {
        let steps = steps(self.index, self.size).into_iter().flatten();
        steps
            .zip(&self.path)
            .fold(*leaf, |hash, (side, other)| match side {
                Side::Left => node_hash(other, &hash),
                Side::Right => node_hash(&hash, other),
            })
    }
}

/// On which side of the way the other hash lies.
#[derive(Debug, Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// The sides on the way up; none where there is no such leaf. A last node without a neighbour goes up as it is.
fn steps(index: u32, size: u32) -> Option<impl Iterator<Item = Side>> {
    let last = size.checked_sub(1).filter(|last| index <= *last)?;
    let levels = std::iter::successors(Some((index, last)), |(node, last)| {
        Some((node >> 1, last >> 1))
    });
    let levels = levels.take_while(|(_, last)| *last > 0);
    Some(levels.filter_map(|(node, last)| match node & 1 {
        1 => Some(Side::Left),
        _ if node < last => Some(Side::Right),
        _ => None,
    }))
}

/// The root over leaves, and each one's way to it; none for no leaves.
pub fn include<'a>(leaves: impl IntoIterator<Item = &'a [u8]>) -> Option<(Hash, Vec<Inclusion>)> {
    let mut level: Vec<Hash> = leaves.into_iter().map(leaf_hash).collect();
    let size = u32::try_from(level.len()).ok()?;
    let mut paths = vec![Vec::new(); level.len()];
    let mut depth = 0_u32;
    while level.len() > 1 {
        for (index, path) in paths.iter_mut().enumerate() {
            let beside = index.checked_shr(depth).unwrap_or(0) ^ 1;
            path.extend(level.get(beside));
        }
        let up = level.chunks(2).map(|pair| match pair {
            [left, right] => node_hash(left, right),
            [alone, ..] => *alone,
            [] => Hash::default(),
        });
        level = up.collect();
        depth = depth.saturating_add(1);
    }
    let root = level.first().copied()?;
    let ways = (0..size)
        .zip(paths)
        .map(|(index, path)| Inclusion { index, size, path });
    Some((root, ways.collect()))
}
