//! What a command gives back: a value to print, or a failure with its exit code.

use std::fmt;
use std::io::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressFinish};
use serde_json::Value;

/// Exit codes, as `docs/cli.md` promises them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It failed.
    Failed,
    /// The arguments make no sense.
    Usage,
    /// The answer was no.
    Refused,
    /// Tampering was found.
    Tampered,
    /// The configuration is invalid.
    Invalid,
    /// A dependency is unavailable.
    Unavailable,
}

impl Exit {
    /// The code the process ends with.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Tampered => 4,
            Self::Invalid => 64,
            Self::Unavailable => 69,
        }
    }
}

/// Why a command did not do as asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// A stable code for scripts.
    pub(crate) code: String,
    /// What happened and what to do.
    pub(crate) message: String,
    /// Printed on standard output before the failure, where there is a result all the same.
    pub(crate) report: Option<Value>,
}

/// What commands give.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            message: message.into(),
            report: None,
        }
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unavailable, "unavailable", message)
    }

    pub(crate) fn with_report(mut self, report: Value) -> Self {
        self.report = Some(report);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, "failed", format!("{error:#}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Failed, "failed", error.to_string())
    }
}

/// Where results go: JSON for scripts, text for people. Standard output carries nothing else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    pub(crate) json: bool,
}

impl Printer {
    /// Prints one document: compact JSON on one line, or the text.
    pub(crate) fn document(
        self,
        value: &Value,
        text: impl FnOnce() -> String,
    ) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{value}")
        } else {
            writeln!(out, "{}", text())
        }
    }

    /// A remark for people, on standard error.
    pub(crate) fn remark(self, text: &str) {
        if !self.json {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// Shows on standard error that something goes on, until it is dropped; nothing to scripts.
    pub(crate) fn progress(self, doing: &'static str) -> ProgressBar {
        let progress = if self.json {
            ProgressBar::hidden()
        } else {
            ProgressBar::new_spinner()
        };
        progress.enable_steady_tick(Duration::from_millis(120));
        progress
            .with_message(doing)
            .with_finish(ProgressFinish::AndClear)
    }

    /// Prints a failure: its report on standard output, the reason on standard error.
    pub(crate) fn failure(self, failure: &Failure) {
        if let Some(report) = &failure.report {
            let _ = self.document(report, || format!("{report:#}"));
        }
        let mut error = std::io::stderr().lock();
        let _ = if self.json {
            let line = serde_json::json!({ "error": failure.code, "message": failure.message });
            writeln!(error, "{line}")
        } else {
            writeln!(error, "caracal: {}", failure.message)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        let all = [
            Exit::Failed,
            Exit::Usage,
            Exit::Refused,
            Exit::Tampered,
            Exit::Invalid,
            Exit::Unavailable,
        ];
        assert_eq!(all.map(Exit::code), [1, 2, 3, 4, 64, 69]);
    }
}
