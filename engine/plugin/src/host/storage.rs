//! `bascule:host/storage`: folders and stores.

use bascule_capability::storage::{Entry, Folder, Store};
use wasmtime::component::Resource;

use super::bindings::bascule::host::storage;
use super::events::json;
use super::{Refusal, State, Touch};

impl From<Entry> for storage::Entry {
    fn from(entry: Entry) -> Self {
        Self { name: entry.name, bytes: entry.bytes, modified: entry.modified.to_string() }
    }
}

impl State {
    pub(super) fn folder(&self, folder: &Resource<Folder>) -> wasmtime::Result<Folder> {
        self.enter()?;
        Ok(self.table.get(folder)?.clone())
    }

    fn store(&self, store: &Resource<Store>) -> wasmtime::Result<Store> {
        self.enter()?;
        Ok(self.table.get(store)?.clone())
    }
}

impl storage::Host for State {}

impl storage::HostFolder for State {
    async fn list(
        &mut self,
        folder: Resource<Folder>,
        prefix: String,
    ) -> Result<Vec<storage::Entry>, Refusal> {
        let folder = self.folder(&folder)?;
        let entries = self.io(Touch::Reads, Box::pin(async move { folder.list(&prefix).await })).await?;
        Ok(entries.into_iter().map(Into::into).collect())
    }

    async fn stat(&mut self, folder: Resource<Folder>, name: String) -> Result<storage::Entry, Refusal> {
        let folder = self.folder(&folder)?;
        Ok(self.io(Touch::Reads, Box::pin(async move { folder.stat(&name).await })).await?.into())
    }

    async fn read(&mut self, folder: Resource<Folder>, name: String) -> Result<Vec<u8>, Refusal> {
        let folder = self.folder(&folder)?;
        Ok(self.io(Touch::Reads, Box::pin(async move { folder.read(&name).await })).await?.into())
    }

    async fn write(
        &mut self,
        folder: Resource<Folder>,
        name: String,
        data: Vec<u8>,
    ) -> Result<storage::Entry, Refusal> {
        let folder = self.folder(&folder)?;
        Ok(self
            .io(Touch::Changes, Box::pin(async move { folder.write(&name, data.into()).await }))
            .await?
            .into())
    }

    async fn delete(&mut self, folder: Resource<Folder>, name: String) -> Result<(), Refusal> {
        let folder = self.folder(&folder)?;
        self.io(Touch::Changes, Box::pin(async move { folder.delete(&name).await })).await
    }

    async fn rename(&mut self, folder: Resource<Folder>, from: String, to: String) -> Result<(), Refusal> {
        let folder = self.folder(&folder)?;
        self.io(Touch::Changes, Box::pin(async move { folder.rename(&from, &to).await })).await
    }

    async fn drop(&mut self, folder: Resource<Folder>) -> wasmtime::Result<()> {
        self.table.delete(folder)?;
        Ok(())
    }
}

impl storage::HostStore for State {
    async fn get(&mut self, store: Resource<Store>, key: String) -> Result<Option<storage::Stored>, Refusal> {
        let store = self.store(&store)?;
        let stored = self.io(Touch::Reads, Box::pin(async move { store.get(&key).await })).await?;
        Ok(stored.map(|stored| storage::Stored { value: stored.value.to_string(), version: stored.version }))
    }

    async fn put(
        &mut self,
        store: Resource<Store>,
        key: String,
        value: String,
        expected: Option<u64>,
    ) -> Result<u64, Refusal> {
        let store = self.store(&store)?;
        let value = json(&value)?;
        self.io(Touch::Changes, Box::pin(async move { store.put(&key, value, expected).await })).await
    }

    async fn delete(&mut self, store: Resource<Store>, key: String) -> Result<bool, Refusal> {
        let store = self.store(&store)?;
        self.io(Touch::Changes, Box::pin(async move { store.delete(&key).await })).await
    }

    async fn list(&mut self, store: Resource<Store>, prefix: String) -> Result<Vec<String>, Refusal> {
        let store = self.store(&store)?;
        self.io(Touch::Reads, Box::pin(async move { store.list(&prefix).await })).await
    }

    async fn drop(&mut self, store: Resource<Store>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}
