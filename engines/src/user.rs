//! Whom engines run as. PostgreSQL refuses to run as root, and nothing else needs to.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::process::geteuid;

/// An account without privileges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its user id.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Whom to run engines as: none, that is the caller, unless the caller is root. Then `postgres` or else
/// `nobody`: `initdb` refuses a user id without an entry in the table of accounts.
pub fn unprivileged() -> anyhow::Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let table = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    match ["postgres", "nobody"]
        .iter()
        .find_map(|name| find(&table, name))
    {
        Some(user) => Ok(Some(user)),
        None => bail!(
            "root needs an account `postgres` or `nobody` to run PostgreSQL as; /etc/passwd has neither"
        ),
    }
}

fn find(table: &str, name: &str) -> Option<User> {
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (found && uid != 0).then(|| User {
            name: name.to_owned(),
            uid,
            gid,
        })
    })
}

/// Whether every folder on the way to `path`, as far as it exists, lets anybody through.
pub fn reachable_by_others(path: &Path) -> bool {
    path.ancestors()
        .filter_map(|folder| fs::metadata(folder).ok())
        .all(|metadata| metadata.permissions().mode() & 0o001 == 0o001)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "root:x:0:0:root:/root:/bin/bash\n\
        nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n\
        postgres:x:101:104:PostgreSQL,,,:/var/lib/postgresql:/bin/bash\n";

    #[test]
    fn finds_an_account_by_its_name() {
        let user = find(TABLE, "postgres").unwrap();
        assert_eq!((user.uid, user.gid), (101, 104));
        assert_eq!(find(TABLE, "nobody").unwrap().uid, 65534);
        assert!(find(TABLE, "mysql").is_none());
    }

    #[test]
    fn never_takes_root_for_an_account_without_privileges() {
        assert!(find(TABLE, "root").is_none());
    }

    #[test]
    fn a_private_folder_is_not_reachable() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!reachable_by_others(&folder.path().join("below")));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(
            reachable_by_others(&folder.path().join("below")),
            reachable_by_others(&std::env::temp_dir())
        );
    }
}
