//! The alerts: kept with what they tell of, in one transaction, and bounded.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use sync_core::vault::Cell;
use sync_types::{Code, DeviceId};

use super::Turn;
use super::apply::{bad_row, number};
use super::consumers::LogReader;
use crate::vault::Sealing;
use crate::{Alert, AlertDevice, AlertKind, SyncError};

/// How many are kept, of changes and of warnings each: neither pushes the other out.
const KEPT: i64 = 1_000;

/// How long a warning that was seen and comes again stays quiet, in milliseconds.
const QUIET_MS: u64 = 24 * 3600 * 1000;

const COLUMNS: &str =
    "number, kind, at, seen, device, device_name, device_own, maker, maker_name, maker_own, code, count, since";

impl Turn<'_> {
    /// Keeps an alert, whose number is of no account, and gives it as it is kept; `None` if it is known.
    ///
    /// There is one of each warning about a device: what comes again is counted there, and is a new one once a day.
    pub(crate) async fn alert(&mut self, mut alert: Alert) -> Result<Option<Alert>, SyncError> {
        if alert.kind.is_warning()
            && let Some(known) = self.known_alert(&alert).await?
        {
            if alert.kind == AlertKind::StalePeer && known.since == alert.since {
                return Ok(None);
            }
            if alert.kind != AlertKind::Withheld {
                alert.count = alert.count.saturating_add(known.count);
            }
            let is_told = known.seen && alert.at.saturating_sub(known.at) < QUIET_MS && known.since == alert.since;
            if is_told || !known.seen {
                let kept = Alert { count: alert.count, since: alert.since, ..known };
                let script = self.script.statement("UPDATE alert SET count = ?, since = ? WHERE number = ?");
                script.bind(number(kept.count)?).bind(kept.since.map(number).transpose()?).bind(number(kept.number)?);
                return Ok((!is_told).then_some(kept));
            }
            self.script.statement("DELETE FROM alert WHERE number = ?").bind(number(known.number)?);
        }
        alert.number = self.insert_alert(&alert).await?;
        // The oldest go.
        let script = self.script.statement(
            "DELETE FROM alert WHERE warning = ? AND number <=
                 (SELECT number FROM alert WHERE warning = ? ORDER BY number DESC LIMIT 1 OFFSET ?)",
        );
        script.bind(alert.kind.is_warning()).bind(alert.kind.is_warning()).bind(KEPT);
        Ok(Some(alert))
    }

    async fn insert_alert(&mut self, alert: &Alert) -> Result<u64, SyncError> {
        let vault = self.vault;
        let of = |device: &Option<AlertDevice>| {
            let device = device.as_ref();
            let name = device.and_then(|d| Some(sealed_name(vault, d.id, d.name.as_deref()?)));
            (device.map(|d| d.id.0.to_vec()), name, device.is_some_and(|d| d.own))
        };
        let ((device, device_name, device_own), (maker, maker_name, maker_own)) = (of(&alert.device), of(&alert.by));
        let row: i64 = sqlx::query_scalar(
            "INSERT INTO alert (kind, warning, at, seen, device, device_name, device_own, maker, maker_name, maker_own,
                                code, count, since)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number",
        )
        .bind(alert.kind.as_str())
        .bind(alert.kind.is_warning())
        .bind(number(alert.at)?)
        .bind(alert.seen)
        .bind(device)
        .bind(device_name)
        .bind(device_own)
        .bind(maker)
        .bind(maker_name)
        .bind(maker_own)
        .bind(alert.code.map(Code::as_str))
        .bind(number(alert.count)?)
        .bind(alert.since.map(number).transpose()?)
        .fetch_one(self.settled().await?)
        .await?;
        Ok(row.unsigned_abs())
    }

    async fn known_alert(&mut self, alert: &Alert) -> Result<Option<Alert>, SyncError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM alert WHERE kind = ? AND device IS ? AND code IS ? ORDER BY number DESC LIMIT 1"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(alert.kind.as_str())
            .bind(alert.device.as_ref().map(|d| d.id.0.to_vec()))
            .bind(alert.code.map(Code::as_str));
        let vault = self.vault;
        query.fetch_optional(self.settled().await?).await?.map(|row| read(&row, vault)).transpose()
    }

    /// A device has said its name: what was told of it without one gets it. Gives the alerts that nobody has seen yet.
    pub(crate) async fn name_in_alerts(&mut self, device: DeviceId, name: &str) -> Result<Vec<Alert>, SyncError> {
        for (id, named) in [("device", "device_name"), ("maker", "maker_name")] {
            let sql = format!("UPDATE alert SET {named} = ? WHERE {id} = ? AND {named} IS NULL");
            self.script.statement(&sql).bind(sealed_name(self.vault, device, name)).bind(device.as_bytes());
        }
        let sql = format!("SELECT {COLUMNS} FROM alert WHERE ?1 IN (device, maker) AND seen = 0 ORDER BY number");
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(device.0.to_vec());
        let vault = self.vault;
        query.fetch_all(self.settled().await?).await?.iter().map(|row| read(row, vault)).collect()
    }

    /// Somebody has seen the alerts up to this number.
    pub(crate) fn alerts_seen(&mut self, up_to: u64) {
        let up_to = i64::try_from(up_to).unwrap_or(i64::MAX);
        self.script.statement("UPDATE alert SET seen = 1 WHERE number <= ? AND seen = 0").bind(up_to);
    }
}

impl LogReader {
    /// The alerts, newest first.
    pub(crate) async fn alerts(&self) -> Result<Vec<Alert>, SyncError> {
        let sql = format!("SELECT {COLUMNS} FROM alert ORDER BY number DESC");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(self.pool()).await?;
        rows.iter().map(|row| read(row, &self.vault)).collect()
    }
}

fn sealed_name(vault: &Sealing, device: DeviceId, name: &str) -> Vec<u8> {
    vault.seal(Cell::AlertName(device), name.as_bytes())
}

fn read(row: &SqliteRow, vault: &Sealing) -> Result<Alert, SyncError> {
    let device = |at: usize| -> Result<Option<AlertDevice>, SyncError> {
        let Some(id) = row.try_get::<Option<Vec<u8>>, _>(at)? else { return Ok(None) };
        let id = DeviceId::from_slice(&id).ok_or_else(bad_row)?;
        let sealed: Option<Vec<u8>> = row.try_get(at + 1)?;
        let name = sealed.map(|sealed| vault.open(Cell::AlertName(id), &sealed)).transpose()?;
        let name = name.map(|name| String::from_utf8(name).map_err(|_| bad_row())).transpose()?;
        Ok(Some(AlertDevice { id, name, own: row.try_get(at + 2)? }))
    };
    let code: Option<String> = row.try_get(10)?;
    Ok(Alert {
        number: row.try_get::<i64, _>(0)?.unsigned_abs(),
        kind: AlertKind::from_name(row.try_get(1)?).ok_or_else(bad_row)?,
        at: row.try_get::<i64, _>(2)?.unsigned_abs(),
        seen: row.try_get(3)?,
        device: device(4)?,
        by: device(7)?,
        code: code.map(|code| Code::from_name(&code).ok_or_else(bad_row)).transpose()?,
        count: row.try_get::<i64, _>(11)?.unsigned_abs(),
        since: row.try_get::<Option<i64>, _>(12)?.map(i64::unsigned_abs),
    })
}
