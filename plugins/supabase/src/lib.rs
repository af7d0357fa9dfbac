//! The plugin `supabase`: tables and files of a Supabase project (`wit/plugin.wit` is its documentation).
//!
//! `conditions` turns YAML conditions into PostgREST's query, `tables` and `files` build requests and read answers over
//! `bascule_sdk::Peer`, `address` understands what tables keep as addresses, `refusal` reads error bodies. This file
//! only hands the host's parameters on.

mod address;
mod conditions;
mod files;
mod refusal;
mod tables;

use bascule_sdk::{Connection, Error, Folder, Shelf};
use bindings::exports::bascule::supabase::{files as files_api, tables as tables_api};

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
        schema: Option<String>,
    ) -> Result<String, Error> {
        let query = tables::Query { table: &table, columns, where_, any_of, schema };
        tables::select(database, &query, &tables::Pages { order, limit, page_size })
    }

    fn one(
        database: &Connection,
        table: String,
        columns: Option<String>,
        where_: Option<String>,
        any_of: Option<String>,
        schema: Option<String>,
    ) -> Result<String, Error> {
        tables::one(database, &tables::Query { table: &table, columns, where_, any_of, schema })
    }

    fn insert(
        database: &Connection,
        table: String,
        rows: String,
        returning: Option<String>,
        schema: Option<String>,
    ) -> Result<tables_api::Written, Error> {
        tables::insert(
            database,
            &tables::Target { table: &table, returning, schema, max_affected: None },
            &rows,
        )
    }

    fn upsert(
        database: &Connection,
        table: String,
        rows: String,
        on_conflict: Option<String>,
        ignore_existing: Option<bool>,
        returning: Option<String>,
        schema: Option<String>,
    ) -> Result<tables_api::Written, Error> {
        let target = tables::Target { table: &table, returning, schema, max_affected: None };
        let existing =
            if ignore_existing == Some(true) { tables::Existing::Keep } else { tables::Existing::Change };
        tables::upsert(database, &target, &rows, on_conflict.as_deref(), existing)
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
        let target = tables::Target { table: &table, returning, schema, max_affected };
        tables::update(database, &target, &where_, &values)
    }

    fn delete(
        database: &Connection,
        table: String,
        where_: String,
        returning: Option<String>,
        max_affected: Option<u32>,
        schema: Option<String>,
    ) -> Result<tables_api::Written, Error> {
        tables::delete(database, &tables::Target { table: &table, returning, schema, max_affected }, &where_)
    }

    fn rpc(
        database: &Connection,
        function: String,
        args: Option<String>,
        schema: Option<String>,
    ) -> Result<String, Error> {
        tables::rpc(database, &function, args.as_deref(), schema.as_deref())
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
}
