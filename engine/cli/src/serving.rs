//! `bascule serve`: the project folder brought to life and kept up to date, and the way of other commands to the process
//! that owns the data folder.

mod address;
mod book;
mod capacity;
mod client;
mod expiry;
mod logs;
mod sources;
mod switch;

pub(crate) use address::{Address, write_private};
pub(crate) use book::FolderBook;
pub(crate) use capacity::{Capacity, MAX_SOURCES};
pub(crate) use client::Client;
pub(crate) use expiry::watch as watch_expiry;
pub(crate) use logs::{RunLog, Together, start as start_logs};
pub(crate) use sources::{Folders, PluginSources};
pub(crate) use switch::Switch;
