//! Folders that engines run in.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;

use engines::User;

/// A folder of `user`, with a path short enough for sockets. It is removed by the leash of what runs in it.
pub(crate) fn folder(user: Option<&User>) -> PathBuf {
    let folder = tempfile::Builder::new()
        .prefix("caracal-kit-")
        .tempdir_in("/tmp")
        .expect("a folder")
        .keep();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("its mode");
    if let Some(user) = user {
        chown(&folder, Some(user.uid), Some(user.gid)).expect("its owner");
    }
    folder
}
