//! The plugin `supabase`: tables and files of a Supabase project (`wit/plugin.wit` is its documentation).
//!
//! `conditions` turns YAML conditions into PostgREST's query; `tables` reads rows and `writes` changes them; `files`,
//! `listing`, `signing`, `moving` and `buckets` are the storage, which all ask through `storage`; `address` understands what
//! tables keep as addresses, `refusal` reads error bodies, `webhooks` reads what a project sends. All of that is plain
//! functions over `bascule_sdk::Peer`; this file only hands the host's parameters on.

mod address;
mod buckets;
mod conditions;
mod files;
mod listing;
mod moving;
mod refusal;
mod signing;
mod storage;
mod tables;
mod webhooks;
mod writes;

use bascule_sdk::{Connection, Error, Folder, Shelf, json};
use bindings::exports::bascule::supabase::{
    buckets as buckets_api, files as files_api, tables as tables_api, webhooks as webhooks_api,
};

bascule_sdk::plugin! { world: "bascule:supabase/plugin@0.1.0", wit: ["wit/plugin.wit"], path: ["../../wit", "wit"] }
bascule_sdk::export!(Plugin);

struct Plugin;

impl tables_api::Guest for Plugin {
    fn select(
        database: &Connection,
        table: String,
        columns: Option<String>,
        where_: Option<String>,
        any_of: Option<String>,
        order: Option<String>,
        limit: Option<u32>,
        page_size: Option<u32>,
        embeds: Option<String>,
        schema: Option<String>,
    ) -> Result<String, Error> {
        let query = tables::Query { table: &table, args: None, columns, where_, any_of, embeds, schema };
        tables::select(database, &query, &tables::Pages { order, limit, page_size })
    }

    fn one(
        database: &Connection,
        table: String,
        columns: Option<String>,
        where_: Option<String>,
        any_of: Option<String>,
        embeds: Option<String>,
        schema: Option<String>,
    ) -> Result<String, Error> {
        let query = tables::Query { table: &table, args: None, columns, where_, any_of, embeds, schema };
        tables::one(database, &query)
    }

    fn maybe_one(
        database: &Connection,
        table: String,
        columns: Option<String>,
        where_: Option<String>,
        any_of: Option<String>,
        embeds: Option<String>,
        schema: Option<String>,
    ) -> Result<String, Error> {
        let query = tables::Query { table: &table, args: None, columns, where_, any_of, embeds, schema };
        tables::maybe_one(database, &query)
    }

    fn count(
        database: &Connection,
        table: String,
        where_: Option<String>,
        any_of: Option<String>,
        counting: Option<tables_api::Counting>,
        schema: Option<String>,
    ) -> Result<u64, Error> {
        let query = tables::Query { table: &table, where_, any_of, schema, ..tables::Query::default() };
        tables::count(database, &query, counting.unwrap_or(tables_api::Counting::Exact))
    }

    fn insert(
        database: &Connection,
        table: String,
        rows: String,
        missing: Option<tables_api::Missing>,
        returning: Option<String>,
        schema: Option<String>,
    ) -> Result<tables_api::Written, Error> {
        let target = writes::Target { table: &table, returning, schema, max_affected: None, missing };
        writes::insert(database, &target, &rows)
    }

    fn upsert(
        database: &Connection,
        table: String,
        rows: String,
        on_conflict: Option<String>,
        ignore_existing: Option<bool>,
        missing: Option<tables_api::Missing>,
        returning: Option<String>,
        schema: Option<String>,
    ) -> Result<tables_api::Written, Error> {
        let target = writes::Target { table: &table, returning, schema, max_affected: None, missing };
        let existing =
            if ignore_existing == Some(true) { writes::Existing::Keep } else { writes::Existing::Change };
        writes::upsert(database, &target, &rows, on_conflict.as_deref(), existing)
    }

    fn update(
        database: &Connection,
        table: String,
        where_: String,
        values: String,
        returning: Option<String>,
        max_affected: Option<u32>,
        schema: Option<String>,
    ) -> Result<tables_api::Written, Error> {
        let target = writes::Target { table: &table, returning, schema, max_affected, missing: None };
        writes::update(database, &target, &where_, &values)
    }

    fn delete(
        database: &Connection,
        table: String,
        where_: String,
        returning: Option<String>,
        max_affected: Option<u32>,
        schema: Option<String>,
    ) -> Result<tables_api::Written, Error> {
        let target = writes::Target { table: &table, returning, schema, max_affected, missing: None };
        writes::delete(database, &target, &where_)
    }

    fn rpc(
        database: &Connection,
        function: String,
        args: Option<String>,
        schema: Option<String>,
    ) -> Result<String, Error> {
        writes::rpc(database, &function, args.as_deref(), schema.as_deref())
    }

    fn rows_of(
        database: &Connection,
        function: String,
        args: Option<String>,
        columns: Option<String>,
        where_: Option<String>,
        any_of: Option<String>,
        order: Option<String>,
        limit: Option<u32>,
        page_size: Option<u32>,
        schema: Option<String>,
    ) -> Result<String, Error> {
        let args = args.map(|args| json::parse(&args, "args")).transpose()?.unwrap_or_default();
        let query = tables::Query {
            table: &function,
            args: Some(args),
            columns,
            where_,
            any_of,
            embeds: None,
            schema,
        };
        tables::select(database, &query, &tables::Pages { order, limit, page_size })
    }
}

impl files_api::Guest for Plugin {
    fn public_url(database: &Connection, address: String, bucket: Option<String>) -> Result<String, Error> {
        address::public_url(&database.origin(), &address, bucket.as_deref())
    }

    fn fetch(
        database: &Connection,
        address: String,
        bucket: Option<String>,
        folder: &Folder,
        name: String,
        overwrite: Option<bool>,
    ) -> Result<files_api::File, Error> {
        let shelf = Shelf { connection: database, folder };
        files::fetch(&shelf, &address, bucket.as_deref(), &name, overwrite == Some(true))
    }

    fn upload(
        database: &Connection,
        folder: &Folder,
        name: String,
        bucket: String,
        path: String,
        content_type: Option<String>,
        overwrite: Option<bool>,
        cache_seconds: Option<u32>,
    ) -> Result<files_api::Stored, Error> {
        let existing = if overwrite == Some(true) { files::Existing::Replace } else { files::Existing::Keep };
        let upload = files::Upload { bucket: &bucket, path: &path, content_type, existing, cache_seconds };
        files::upload(&Shelf { connection: database, folder }, &name, &upload)
    }

    fn info(database: &Connection, bucket: String, path: String) -> Result<files_api::Stored, Error> {
        files::info(database, &bucket, &path)
    }

    fn list(
        database: &Connection,
        bucket: String,
        folder: Option<String>,
        search: Option<String>,
        sort_by: Option<files_api::Sorting>,
        descending: Option<bool>,
        limit: Option<u32>,
        recursive: Option<bool>,
    ) -> Result<Vec<files_api::Entry>, Error> {
        let listing = listing::Listing {
            folder: folder.as_deref(),
            search: search.as_deref(),
            sort_by,
            descending: descending == Some(true),
            limit,
            recursive: recursive == Some(true),
        };
        listing::list(database, &bucket, &listing)
    }

    fn signed_url(
        database: &Connection,
        bucket: String,
        path: String,
        expires_in: u32,
        download_as: Option<String>,
    ) -> Result<String, Error> {
        signing::one(database, &bucket, &path, expires_in, download_as.as_deref())
    }

    fn signed_urls(
        database: &Connection,
        bucket: String,
        paths: Vec<String>,
        expires_in: u32,
    ) -> Result<Vec<files_api::Signed>, Error> {
        signing::several(database, &bucket, &paths, expires_in)
    }

    fn signed_upload_url(
        database: &Connection,
        bucket: String,
        path: String,
        overwrite: Option<bool>,
    ) -> Result<files_api::Ticket, Error> {
        signing::ticket(database, &bucket, &path, overwrite == Some(true))
    }

    fn move_(
        database: &Connection,
        bucket: String,
        path: String,
        to: String,
        to_bucket: Option<String>,
    ) -> Result<files_api::Stored, Error> {
        let way = moving::Way { bucket: &bucket, path: &path, to: &to, to_bucket: to_bucket.as_deref() };
        moving::transfer(database, &way, moving::Verb::Move)
    }

    fn copy(
        database: &Connection,
        bucket: String,
        path: String,
        to: String,
        to_bucket: Option<String>,
    ) -> Result<files_api::Stored, Error> {
        let way = moving::Way { bucket: &bucket, path: &path, to: &to, to_bucket: to_bucket.as_deref() };
        moving::transfer(database, &way, moving::Verb::Copy)
    }

    fn delete(
        database: &Connection,
        bucket: String,
        paths: Vec<String>,
    ) -> Result<files_api::Deleted, Error> {
        moving::delete(database, &bucket, &paths)
    }
}

impl buckets_api::Guest for Plugin {
    fn list(database: &Connection) -> Result<Vec<buckets_api::Bucket>, Error> {
        buckets::list(database)
    }

    fn ensure(
        database: &Connection,
        name: String,
        public: Option<bool>,
        max_file_bytes: Option<u64>,
        types: Option<Vec<String>>,
    ) -> Result<buckets_api::Ensured, Error> {
        let wanted = buckets_api::Bucket {
            name,
            public: public == Some(true),
            max_file_bytes,
            types: types.unwrap_or_default(),
        };
        buckets::ensure(database, &wanted)
    }
}

impl webhooks_api::Guest for Plugin {
    fn decode(body: String) -> Result<webhooks_api::Change, Error> {
        webhooks::decode(&body)
    }
}
