//! What the plugin keeps: files and small values, as traits, so that tests need no host.

use bascule_sdk::{Entry, Error, ErrorKind, Folder, Store};
use serde_json::Value;

/// Small values by key. A [`Store`] is the real one.
pub(crate) trait Memory {
    /// The value of a key; one that cannot be read counts as absent, for it can be found out again.
    fn recall(&self, key: &str) -> Result<Option<Value>, Error>;
    fn remember(&self, key: &str, value: &Value) -> Result<(), Error>;
}

impl Memory for Store {
    fn recall(&self, key: &str) -> Result<Option<Value>, Error> {
        Ok(self.get(key)?.and_then(|stored| serde_json::from_str(&stored.value).ok()))
    }

    fn remember(&self, key: &str, value: &Value) -> Result<(), Error> {
        self.put(key, &value.to_string(), None).map(|_version| ())
    }
}

/// Files by name. A [`Folder`] is the real one.
pub(crate) trait Disk {
    /// The length of a file, if it is there.
    fn length(&self, name: &str) -> Result<Option<u64>, Error>;
    fn read(&self, name: &str) -> Result<Vec<u8>, Error>;
    fn write(&self, name: &str, data: &[u8]) -> Result<(), Error>;
    fn delete(&self, name: &str) -> Result<(), Error>;
    fn rename(&self, from: &str, to: &str) -> Result<(), Error>;
    /// The files whose names start so.
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, Error>;
}

impl Disk for Folder {
    fn length(&self, name: &str) -> Result<Option<u64>, Error> {
        match self.stat(name) {
            Ok(entry) => Ok(Some(entry.bytes)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        Self::read(self, name)
    }

    fn write(&self, name: &str, data: &[u8]) -> Result<(), Error> {
        Self::write(self, name, data).map(|_entry| ())
    }

    fn delete(&self, name: &str) -> Result<(), Error> {
        Self::delete(self, name)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        Self::rename(self, from, to)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, Error> {
        Self::list(self, prefix)
    }
}

#[cfg(test)]
pub(crate) mod doubles {
    //! A memory and a desk: a script whose downloads land in a folder of its own, checked as the host checks them.

    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use bascule_sdk::testing::Script;
    use bascule_sdk::{DownloadOptions, Downloaded, Files, Peer, Request, Response, Transfer};

    use super::*;

    #[derive(Default)]
    pub(crate) struct Notes(pub(crate) RefCell<BTreeMap<String, Value>>);

    impl Memory for Notes {
        fn recall(&self, key: &str) -> Result<Option<Value>, Error> {
            Ok(self.0.borrow().get(key).cloned())
        }

        fn remember(&self, key: &str, value: &Value) -> Result<(), Error> {
            self.0.borrow_mut().insert(key.to_owned(), value.clone());
            Ok(())
        }
    }

    #[derive(Default)]
    pub(crate) struct Desk {
        pub(crate) script: Script,
        pub(crate) files: RefCell<BTreeMap<String, Vec<u8>>>,
    }

    impl Desk {
        pub(crate) fn of(script: Script) -> Self {
            Self { script, files: RefCell::default() }
        }

        pub(crate) fn names(&self) -> Vec<String> {
            self.files.borrow().keys().cloned().collect()
        }
    }

    impl Peer for Desk {
        fn send(&self, request: Request) -> Result<Response, Error> {
            self.script.send(request)
        }

        fn origin(&self) -> String {
            self.script.origin()
        }
    }

    impl Files for Desk {
        fn size(&self, name: &str) -> Result<u64, Error> {
            self.length(name)?.ok_or_else(|| Error::not_found(format!("there is no file `{name}`")))
        }

        fn upload(&self, request: Request, _name: &str) -> Result<Response, Error> {
            self.script.send(request)
        }

        fn download(
            &self,
            request: Request,
            name: &str,
            options: &DownloadOptions,
        ) -> Result<Downloaded, Error> {
            let response = self.script.send(request)?;
            let is_answer = options.answer_prefixes.iter().any(|p| response.body.starts_with(p.as_bytes()));
            if !response.is_success() || is_answer {
                return Ok(Downloaded::Answered(response));
            }
            let bytes = response.body.len() as u64;
            if options.expected_bytes.is_some_and(|expected| bytes < expected) {
                return Err(Error::protocol("too short").code("host:too-short"));
            }
            let head = response.body.iter().copied().take(64).collect();
            self.files.borrow_mut().insert(name.to_owned(), response.body);
            Ok(Downloaded::Stored(Transfer {
                name: name.to_owned(),
                bytes,
                sha256: "ab".repeat(32),
                content_type: None,
                head,
            }))
        }
    }

    impl Disk for Desk {
        fn length(&self, name: &str) -> Result<Option<u64>, Error> {
            Ok(self.files.borrow().get(name).map(|data| data.len() as u64))
        }

        fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
            let files = self.files.borrow();
            files.get(name).cloned().ok_or_else(|| Error::not_found("no such file"))
        }

        fn write(&self, name: &str, data: &[u8]) -> Result<(), Error> {
            self.files.borrow_mut().insert(name.to_owned(), data.to_vec());
            Ok(())
        }

        fn delete(&self, name: &str) -> Result<(), Error> {
            self.files.borrow_mut().remove(name);
            Ok(())
        }

        fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
            let data =
                self.files.borrow_mut().remove(from).ok_or_else(|| Error::not_found("no such file"))?;
            self.files.borrow_mut().insert(to.to_owned(), data);
            Ok(())
        }

        fn list(&self, prefix: &str) -> Result<Vec<Entry>, Error> {
            let files = self.files.borrow();
            let found = files.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(name, data)| Entry {
                name: name.clone(),
                bytes: data.len() as u64,
                modified: "2026-11-21T00:00:00Z".to_owned(),
            });
            let found: Vec<Entry> = found.collect();
            if found.len() > 8 {
                return Err(Error::invalid_input("more than 8 files: list a narrower prefix"));
            }
            Ok(found)
        }
    }
}
