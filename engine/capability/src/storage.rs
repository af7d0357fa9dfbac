//! Folders and stores: files and small values that outlive a call. The contract is `wit/storage.wit`.
//!
//! A [`Folder`] is rooted: no name and no link leads out of it. A [`Store`] is a named set of keys in the database.

mod file_name;
mod folder;
mod partial;
mod store;
mod temporary;

pub(crate) use folder::failed;
pub use folder::{Entry, Folder, OpenFolderError};
pub(crate) use partial::{Keeper, PartialFile};
pub use store::{Store, Stored};
pub use temporary::TemporaryFile;
