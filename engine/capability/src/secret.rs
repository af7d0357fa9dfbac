//! Secrets: encrypted at rest, from the environment or from files; never displayed, never handed to a plugin.
//!
//! The promise: the database or a backup of it is useless without the key file. Whoever can read both, or the memory
//! of the running process, has everything.
//!
//! Start from [`MasterKey`] and [`Secrets`].

mod key;
mod store;
mod value;

pub use key::{KeyError, MasterKey};
pub use store::{EnvironmentFn, SecretInfo, Secrets, SecretsError, Term};
pub use value::Secret;
