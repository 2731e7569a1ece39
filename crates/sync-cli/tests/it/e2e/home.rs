//! A home's files as somebody sees them who has them and the key in its vault file; and a home of before there were vaults.

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use sync_core::vault::{Cell, Kind, LockedKey, Sealer, Unlock};
use sync_types::{BlobId, DeviceId};

use super::disk::rows;
use crate::harness::Device;

/// What opens the values of a home whose key lies in a file.
pub(super) fn sealer(device: &Device) -> Sealer {
    let vault = std::fs::read(device.home.join("vault")).unwrap();
    Sealer::new(&LockedKey::parse(Kind::Vault, &vault).unwrap().open(Unlock::KeyFile).unwrap())
}

/// The values of the state's rows whose keys begin with this byte.
pub(super) fn state(device: &Device, kind: u8) -> Vec<Vec<u8>> {
    let sealer = sealer(device);
    let sql = format!("SELECT key, value FROM state WHERE hex(substr(key, 1, 1)) = '{kind:02X}'");
    let open = |row: &sqlx::sqlite::SqliteRow| {
        let (key, value): (Vec<u8>, Vec<u8>) = (row.get(0), row.get(1));
        sealer.open(Cell::State(&key), &value).unwrap()
    };
    rows(&device.home.join("device.db"), &sql, open)
}

/// The transport key.
pub(super) fn transport_key(device: &Device) -> Vec<u8> {
    let sealed = std::fs::read(device.home.join("transport.key")).unwrap();
    sealer(device).open(Cell::TransportKey, &sealed).unwrap()
}

/// Makes the home what a build before vaults would have left.
pub(super) fn without_vault(device: &Device) {
    let (sealer, key) = (sealer(device), transport_key(device));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(device.home.join("device.db"));
        let mut database = options.connect().await.unwrap();
        for (sql, table, column, key) in [
            ("SELECT name, value FROM meta WHERE name <> 'vault'", "meta", "value", "name"),
            ("SELECT key, value FROM state", "state", "value", "key"),
            ("SELECT position, data, id, channel, snapshot FROM blob", "blob", "data", "position"),
            ("SELECT arrival, data, id, channel, snapshot, sender, seq FROM held", "held", "data", "arrival"),
        ] {
            for row in sqlx::query(sql).fetch_all(&mut database).await.unwrap() {
                let open = |place: Cell<'_>| sealer.open(place, &row.get::<Vec<u8>, _>(1)).unwrap();
                let blob =
                    || (BlobId::from_slice(&row.get::<Vec<u8>, _>(2)).unwrap(), row.get::<String, _>(3), row.get(4));
                let update = format!("UPDATE {table} SET {column} = ? WHERE {key} = ?");
                let update = sqlx::query(AssertSqlSafe(update));
                let update = match table {
                    "meta" => update.bind(open(Cell::Meta(row.get(0)))).bind(row.get::<String, _>(0)),
                    "state" => update.bind(open(Cell::State(row.get(0)))).bind(row.get::<Vec<u8>, _>(0)),
                    "blob" => {
                        let (id, channel, snapshot) = blob();
                        update.bind(open(Cell::Blob(id, &channel, snapshot))).bind(row.get::<i64, _>(0))
                    }
                    _ => {
                        let (id, channel, snapshot) = blob();
                        let sender = DeviceId::from_slice(&row.get::<Vec<u8>, _>(5)).unwrap();
                        let seq = row.get::<i64, _>(6).unsigned_abs();
                        update.bind(open(Cell::Held(id, sender, seq, &channel, snapshot))).bind(row.get::<i64, _>(0))
                    }
                };
                update.execute(&mut database).await.unwrap();
            }
        }
        let rest = "DELETE FROM meta WHERE name = 'vault'; DROP TABLE import; DROP TABLE alert; DROP TABLE kit_kept;
            DROP TABLE kit_apart; DROP INDEX blob_snapshot; DROP TABLE file; DROP TABLE content; DROP INDEX blob_files;
            DROP INDEX blob_large; ALTER TABLE blob DROP COLUMN large;
            PRAGMA user_version = 3; VACUUM";
        sqlx::raw_sql(rest).execute(&mut database).await.unwrap();
        SqliteConnection::close(database).await.unwrap();
    });
    std::fs::write(device.home.join("transport.key"), key).unwrap();
    std::fs::remove_file(device.home.join("vault")).unwrap();
}
