//! What must be on the machine already, checked before anything long starts.

use std::process::{Command, Stdio};

use anyhow::bail;

/// Something that has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A C compiler, for building.
    Cc,
    /// Python 3.10 or newer, for fetching.
    Python,
    /// Its module `venv`, with pip.
    Venv,
}

impl Need {
    /// What installing the engines takes.
    pub const INSTALL: [Self; 2] = [Self::Python, Self::Venv];
    /// What building the workspace and installing the engines takes.
    pub const BUILD: [Self; 3] = [Self::Cc, Self::Python, Self::Venv];

    fn command(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Cc => ("cc", &["--version"]),
            Self::Python => (
                "python3",
                &["-c", "import sys; sys.exit(sys.version_info < (3, 10))"],
            ),
            Self::Venv => ("python3", &["-c", "import venv, ensurepip"]),
        }
    }

    /// What is missing without it, and the Debian package that brings it.
    fn hint(self) -> (&'static str, &'static str) {
        match self {
            Self::Cc => ("a C compiler (`cc`)", "gcc"),
            Self::Python => ("python3, version 3.10 or newer", "python3"),
            Self::Venv => ("python3's module venv", "python3-venv"),
        }
    }
}

/// Fails with everything that is missing, and with the command that installs it on Debian.
pub fn check(needs: &[Need]) -> anyhow::Result<()> {
    let missing: Vec<Need> = needs
        .iter()
        .copied()
        .filter(|need| !present(*need))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("{}", message(&missing))
}

fn present(need: Need) -> bool {
    let (program, arguments) = need.command();
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn message(missing: &[Need]) -> String {
    let (what, packages): (Vec<&str>, Vec<&str>) = missing.iter().map(|need| need.hint()).unzip();
    format!(
        "missing: {}; on Debian: apt-get install {}",
        what.join(", "),
        packages.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_everything_that_is_missing_at_once() {
        assert_eq!(
            message(&[Need::Cc, Need::Venv]),
            "missing: a C compiler (`cc`), python3's module venv; on Debian: apt-get install gcc python3-venv"
        );
    }

    #[test]
    fn is_content_where_tests_run() {
        check(&Need::BUILD).unwrap();
    }
}
