//! Allows that were written down and then not answered.

use std::sync::Arc;

use chassis::Lifecycle;
use ledger::event::Event;
use policy::Decision;
use tokio::sync::mpsc;

use super::{Desk, event};
use crate::decide::Decided;

/// The code of an allow taken back because whoever asked was gone.
pub const UNANSWERED: &str = "unanswered";

/// Watches an allow between the moment it may be written and the moment it may be answered. Dropped in
/// between, whatever the reason, it takes the allow back.
pub(super) struct Unanswered<'a> {
    decided: Option<&'a Decided>,
    request_id: &'a str,
    code: &'static str,
    withdrawals: &'a mpsc::UnboundedSender<Event>,
}

impl<'a> Unanswered<'a> {
    pub(super) fn watch(
        decided: &'a Decided,
        request_id: &'a str,
        withdrawals: &'a mpsc::UnboundedSender<Event>,
    ) -> Self {
        let allows = matches!(decided.decision, Decision::Allow(_));
        Self {
            decided: allows.then_some(decided),
            request_id,
            code: UNANSWERED,
            withdrawals,
        }
    }

    /// It will not be answered, for this reason.
    pub(super) fn because(mut self, code: &'static str) {
        self.code = code;
    }

    pub(super) fn answered(mut self) {
        self.decided = None;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(allowed) = self.decided.take() {
            let withdrawal = event::of_withdrawal(allowed, self.request_id, self.code);
            // Without a receiver the process is ending, and the answer was never given.
            let _ending = self.withdrawals.send(withdrawal);
        }
    }
}

/// Writes down what has to be taken back, until the soft token and then as long as there is anything.
pub async fn take_back(
    desk: Arc<Desk>,
    mut withdrawals: mpsc::UnboundedReceiver<Event>,
    lifecycle: Lifecycle,
) {
    loop {
        let withdrawal = tokio::select! {
            biased;
            withdrawal = withdrawals.recv() => withdrawal,
            () = lifecycle.soft().cancelled() => withdrawals.try_recv().ok(),
        };
        let Some(withdrawal) = withdrawal else { return };
        if let Err(error) = desk.journal.append(withdrawal.clone()).await {
            desk.unjournaled(&error);
            desk.count_withdrawn(&withdrawal);
        }
    }
}
