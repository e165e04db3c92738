//! Which messages of the authority stream count: positions, epochs and completeness, as a pure
//! state machine.
//!
//! Messages may come twice, late, out of order, from two places at once, or from a deployment that
//! no longer is. Only the next position of the held epoch moves memory; everything else is passed
//! over, asked for, or makes memory start anew.

use std::collections::VecDeque;

use ledger::envelope::Epoch;

/// Epochs remembered as left behind.
const MOST_PAST: usize = 64;

/// Where memory stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The deployment's epoch.
    pub epoch: Epoch,
    /// The last position applied.
    pub pos: u64,
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It says nothing new.
    Ignore,
    /// It is the next: apply it.
    Apply,
    /// Something before it is missing: ask for what came after the held position.
    CatchUp,
    /// It belongs to another history: load a snapshot.
    Reload,
}

/// Whether memory can be decided from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was ever loaded.
    Empty,
    /// Memory is of one history and its age is known or not.
    Held,
    /// Memory is of another history than the newest message.
    Resync,
}

/// Keeps count of positions.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    held: Option<Position>,
    /// The epoch that made memory start anew, if that is why.
    resync: Option<Epoch>,
    past: VecDeque<Epoch>,
    /// The newest heartbeat heard: its moment and its position.
    heard: Option<(i64, u64)>,
    /// Memory is complete up to this moment of the database's clock.
    complete_ns: Option<i64>,
}

impl Tracker {
    /// Whether memory can be decided from.
    pub fn phase(&self) -> Phase {
        match (self.held, self.resync) {
            (None, _) => Phase::Empty,
            (Some(_), None) => Phase::Held,
            (Some(_), Some(_)) => Phase::Resync,
        }
    }

    /// Where memory stands, whether or not it can be decided from.
    pub fn held(&self) -> Option<Position> {
        self.held
    }

    /// Memory is complete up to this moment of the database's clock.
    pub fn complete_ns(&self) -> Option<i64> {
        self.complete_ns
    }

    /// A change came. `Apply` has counted it.
    pub fn change(&mut self, epoch: Epoch, pos: u64) -> Verdict {
        let held = match self.of_held_history(epoch) {
            Ok(held) => held,
            Err(verdict) => return verdict,
        };
        if pos <= held.pos {
            return Verdict::Ignore;
        }
        if pos != held.pos.saturating_add(1) {
            return Verdict::CatchUp;
        }
        self.held = Some(Position { epoch, pos });
        Verdict::Apply
    }

    /// A heartbeat came: at `as_of_ns`, everything committed stood at or below `pos`. `Apply` has
    /// moved the moment of completeness.
    pub fn heartbeat(&mut self, epoch: Epoch, pos: u64, as_of_ns: i64) -> Verdict {
        let held = match self.of_held_history(epoch) {
            Ok(held) => held,
            Err(verdict) => return verdict,
        };
        match self.heard {
            // Later and lower: the deployment lost positions it had given out.
            Some((at, highest)) if as_of_ns > at && pos < highest => {
                self.resync = Some(epoch);
                return Verdict::Reload;
            }
            Some((at, _)) if as_of_ns <= at => {}
            _ => self.heard = Some((as_of_ns, pos)),
        }
        if pos > held.pos {
            return Verdict::CatchUp;
        }
        if self
            .complete_ns
            .is_some_and(|complete| complete >= as_of_ns)
        {
            return Verdict::Ignore;
        }
        self.complete_ns = Some(as_of_ns);
        Verdict::Apply
    }

    /// A snapshot came, complete up to `as_of_ns`. False where it is older than what is held; then
    /// nothing has changed.
    pub fn loaded(&mut self, epoch: Epoch, pos: u64, as_of_ns: i64) -> bool {
        // An epoch left behind, unless it turns out to be the living one after all.
        let past = self.past.contains(&epoch);
        if past
            && self
                .complete_ns
                .is_some_and(|complete| complete >= as_of_ns)
        {
            return false;
        }
        self.past.retain(|left| *left != epoch);
        let same = self.held.filter(|held| held.epoch == epoch);
        let fell = self.resync == Some(epoch);
        if same.is_some_and(|held| pos < held.pos) && !fell {
            return false;
        }
        if let Some(announced) = self.resync.take()
            && announced != epoch
        {
            self.leave(announced);
        }
        if let Some(held) = self.held
            && held.epoch != epoch
        {
            self.leave(held.epoch);
        }
        let continues = same.is_some() && !fell;
        if !continues {
            self.heard = Some((as_of_ns, pos));
            self.complete_ns = None;
        }
        self.held = Some(Position { epoch, pos });
        self.complete_ns = self.complete_ns.max(Some(as_of_ns));
        true
    }

    /// Whether a message of this place, and a heartbeat of this moment, says nothing new.
    pub fn is_past(&self, epoch: Epoch, pos: u64, as_of_ns: Option<i64>) -> bool {
        let Some(held) = self.held else { return true };
        let told = |as_of: i64| self.complete_ns.is_some_and(|complete| as_of <= complete);
        self.past.contains(&epoch)
            || (epoch == held.epoch && pos <= held.pos && as_of_ns.is_none_or(told))
    }

    /// What is held, if the message is of the same history.
    fn of_held_history(&mut self, epoch: Epoch) -> Result<Position, Verdict> {
        let Some(held) = self.held else {
            return Err(Verdict::Reload);
        };
        if self.past.contains(&epoch) {
            return Err(Verdict::Ignore);
        }
        if held.epoch != epoch {
            self.resync = Some(epoch);
        }
        if self.resync.is_some() {
            Err(Verdict::Reload)
        } else {
            Ok(held)
        }
    }

    fn leave(&mut self, epoch: Epoch) {
        if self.past.len() >= MOST_PAST {
            self.past.pop_front();
        }
        self.past.push_back(epoch);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn epoch(n: u8) -> Epoch {
        Epoch([n; 16])
    }

    fn loaded(n: u8, pos: u64, as_of: i64) -> Tracker {
        let mut tracker = Tracker::default();
        assert!(tracker.loaded(epoch(n), pos, as_of));
        tracker
    }

    #[test]
    fn before_a_snapshot_every_message_asks_for_one() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.change(epoch(1), 5), Verdict::Reload);
        assert_eq!(tracker.heartbeat(epoch(1), 5, 9), Verdict::Reload);
        assert_eq!(tracker.phase(), Phase::Empty);
        assert_eq!(tracker.complete_ns(), None);
    }

    #[test]
    fn only_the_next_position_is_applied() {
        let mut tracker = loaded(1, 5, 100);
        assert_eq!(tracker.change(epoch(1), 5), Verdict::Ignore);
        assert_eq!(tracker.change(epoch(1), 7), Verdict::CatchUp);
        assert_eq!(tracker.change(epoch(1), 6), Verdict::Apply);
        assert_eq!(tracker.change(epoch(1), 7), Verdict::Apply);
        assert_eq!(tracker.phase(), Phase::Held);
    }

    #[test]
    fn a_heartbeat_ahead_of_memory_makes_it_no_fresher() {
        let mut tracker = loaded(1, 5, 100);
        assert_eq!(tracker.heartbeat(epoch(1), 6, 200), Verdict::CatchUp);
        assert_eq!(tracker.complete_ns(), Some(100));
        assert_eq!(tracker.change(epoch(1), 6), Verdict::Apply);
        assert_eq!(
            tracker.complete_ns(),
            Some(100),
            "a change alone makes nothing fresh"
        );
        assert_eq!(tracker.heartbeat(epoch(1), 6, 200), Verdict::Apply);
        assert_eq!(tracker.complete_ns(), Some(200));
    }

    #[test]
    fn a_late_heartbeat_is_passed_over() {
        let mut tracker = loaded(1, 5, 100);
        assert_eq!(tracker.heartbeat(epoch(1), 5, 300), Verdict::Apply);
        assert_eq!(tracker.heartbeat(epoch(1), 4, 200), Verdict::Ignore);
        assert_eq!(tracker.complete_ns(), Some(300));
    }

    #[test]
    fn a_new_epoch_refuses_until_its_snapshot_is_there_and_the_old_one_is_then_ignored() {
        let mut tracker = loaded(1, 5, 100);
        assert_eq!(tracker.heartbeat(epoch(2), 1, 200), Verdict::Reload);
        assert_eq!(tracker.phase(), Phase::Resync);
        assert_eq!(
            tracker.change(epoch(1), 6),
            Verdict::Reload,
            "still to be reloaded"
        );
        assert!(tracker.loaded(epoch(2), 1, 200));
        assert_eq!(tracker.phase(), Phase::Held);
        assert_eq!(tracker.complete_ns(), Some(200));
        assert_eq!(tracker.change(epoch(1), 6), Verdict::Ignore);
        assert!(
            !tracker.loaded(epoch(1), 9, 150),
            "nobody goes back to an epoch"
        );
    }

    #[test]
    fn an_old_epoch_found_in_the_stream_costs_one_reload() {
        let mut tracker = loaded(2, 5, 100);
        assert_eq!(tracker.change(epoch(1), 3), Verdict::Reload);
        assert!(tracker.loaded(epoch(2), 5, 100));
        assert_eq!(tracker.phase(), Phase::Held);
        assert_eq!(tracker.change(epoch(1), 4), Verdict::Ignore);
    }

    #[test]
    fn an_epoch_taken_for_an_old_one_is_taken_up_when_it_proves_to_be_the_living_one() {
        let mut tracker = loaded(1, 5, 100);
        assert_eq!(tracker.heartbeat(epoch(2), 1, 200), Verdict::Reload);
        assert!(
            tracker.loaded(epoch(1), 5, 100),
            "from a coordinator that lags behind"
        );
        assert_eq!(tracker.heartbeat(epoch(2), 1, 300), Verdict::Ignore);
        assert!(tracker.loaded(epoch(2), 1, 300));
        assert_eq!(tracker.heartbeat(epoch(2), 1, 400), Verdict::Apply);
    }

    #[test]
    fn a_position_that_fell_within_an_epoch_starts_memory_anew() {
        let mut tracker = loaded(1, 5, 100);
        assert_eq!(tracker.heartbeat(epoch(1), 5, 200), Verdict::Apply);
        assert_eq!(tracker.heartbeat(epoch(1), 3, 300), Verdict::Reload);
        assert_eq!(tracker.phase(), Phase::Resync);
        assert!(tracker.loaded(epoch(1), 3, 300));
        assert_eq!(tracker.held().map(|held| held.pos), Some(3));
    }

    #[test]
    fn a_snapshot_older_than_memory_is_passed_over() {
        let mut tracker = loaded(1, 5, 100);
        assert!(!tracker.loaded(epoch(1), 4, 90));
        assert_eq!(tracker.held().map(|held| held.pos), Some(5));
    }

    #[test]
    fn only_what_says_nothing_new_is_passed_over_unseen() {
        let mut tracker = loaded(1, 5, 100);
        let past = |epoch_: u8, pos, as_of| {
            let past = tracker.is_past(epoch(epoch_), pos, as_of);
            let verdict = match as_of {
                Some(as_of) => tracker.clone().heartbeat(epoch(epoch_), pos, as_of),
                None => tracker.clone().change(epoch(epoch_), pos),
            };
            assert!(!past || verdict == Verdict::Ignore, "{verdict:?}");
            past
        };
        assert!(past(1, 5, None) && past(1, 5, Some(100)) && past(1, 4, Some(90)));
        assert!(!past(1, 6, None) && !past(1, 5, Some(101)) && !past(2, 1, None));
        tracker.heartbeat(epoch(2), 1, 200);
        assert!(tracker.loaded(epoch(2), 1, 200));
        assert!(tracker.is_past(epoch(1), 9, None) && tracker.is_past(epoch(1), 9, Some(900)));
    }

    /// What can come, in any order, any number of times.
    #[derive(Clone, Debug)]
    enum Message {
        Change(u8, u64),
        Heartbeat(u8, u64, i64),
        Snapshot(u8, u64),
    }

    fn message() -> impl Strategy<Value = Message> {
        prop_oneof![
            (1_u8..4, 0_u64..12).prop_map(|(epoch, pos)| Message::Change(epoch, pos)),
            // Positions of an honest deployment grow with time: a heartbeat at `t` stands at `t / 10`.
            (1_u8..4, 0_i64..120).prop_map(|(epoch, at)| Message::Heartbeat(
                epoch,
                at.unsigned_abs() / 10,
                at
            )),
            (1_u8..4, 0_u64..12).prop_map(|(epoch, pos)| Message::Snapshot(epoch, pos)),
        ]
    }

    proptest! {
        /// Memory holds every change of its history up to the held position, each once, in order;
        /// and it never claims to be complete up to a moment whose changes it does not hold.
        #[test]
        fn memory_is_a_prefix_of_one_history(messages in proptest::collection::vec(message(), 0..60)) {
            let mut tracker = Tracker::default();
            let mut model: Option<(u8, u64)> = None;
            let mut left: Vec<u8> = Vec::new();
            for message in messages {
                match message {
                    Message::Change(e, pos) => {
                        if tracker.change(epoch(e), pos) == Verdict::Apply {
                            let (held, at) = model.unwrap();
                            prop_assert_eq!((held, at + 1), (e, pos));
                            model = Some((e, pos));
                        }
                    }
                    Message::Heartbeat(e, pos, at) => {
                        tracker.heartbeat(epoch(e), pos, at);
                    }
                    Message::Snapshot(e, pos) => {
                        let as_of = i64::try_from(pos).unwrap() * 10;
                        let complete = tracker.complete_ns();
                        if tracker.loaded(epoch(e), pos, as_of) {
                            let later = complete.is_none_or(|complete| as_of > complete);
                            prop_assert!(!left.contains(&e) || later, "went back to an epoch");
                            left.retain(|past| *past != e);
                            if let Some((before, _)) = model.filter(|(before, _)| *before != e) {
                                left.push(before);
                            }
                            model = Some((e, pos));
                        }
                    }
                }
                prop_assert_eq!(tracker.held().map(|held| (held.epoch, held.pos)), model.map(|(e, pos)| (epoch(e), pos)));
                if let (Some(complete), Some((_, pos))) = (tracker.complete_ns(), model) {
                    prop_assert!(complete.unsigned_abs() / 10 <= pos, "{} > {}", complete, pos);
                }
            }
        }
    }
}
