//! Streams: ordered, slow, and breaking at any moment with the end of what was on its way.

use std::collections::VecDeque;

use sync_types::frame::{self, FromRelay, ToRelay};

use super::{Ev, World};
use crate::relay::ConnId;

/// A connection of a device to the relay.
pub(super) struct Conn {
    host: usize,
    /// On the way to the relay, each with its time of arrival.
    pub(super) up: VecDeque<(u64, Vec<u8>)>,
    pub(super) down: VecDeque<(u64, Vec<u8>)>,
    last_up: u64,
    last_down: u64,
    /// No frame enters any more.
    closing: bool,
    relay_end: bool,
    device_end: bool,
}

impl World {
    /// A device opens a connection, if it can.
    pub(super) fn connect(&mut self, host: usize) {
        let away = self.hosts[host].away_until == u64::MAX && !self.quiet;
        if self.hosts[host].conn.is_some() || !self.hosts[host].wants_connection() || away {
            return;
        }
        if !self.relay_up {
            let delay = self.dice.between(100, 1500);
            self.after(delay, Ev::Connect(host));
            return;
        }
        let conn = self.next_conn;
        self.next_conn += 1;
        let exporter = self.dice.bytes();
        let (up, down) = (VecDeque::new(), VecDeque::new());
        let fresh =
            Conn { host, up, down, last_up: 0, last_down: 0, closing: false, relay_end: false, device_end: false };
        self.conns.insert(conn, fresh);
        self.hosts[host].conn = Some(conn);
        self.relay.open(conn, exporter);
        self.note(|_| format!("device {host} connects as {conn}"));
        self.connected(host, &exporter);
    }

    fn delay(&mut self) -> u64 {
        let most = if self.quiet { 5 } else { self.weather.latency };
        self.dice.between(1, most)
    }

    pub(super) fn send_up(&mut self, conn: ConnId, frame: &ToRelay) {
        let delay = self.delay();
        let Some(c) = self.conns.get_mut(&conn).filter(|c| !c.closing) else { return };
        let bytes = frame::write(frame);
        c.last_up = (self.now + delay).max(c.last_up);
        let wait = c.last_up - self.now;
        c.up.push_back((c.last_up, bytes.clone()));
        self.note(|w| format!("{} → relay on {conn}: {}", w.conns[&conn].host, describe_up(frame)));
        self.note_bytes(&bytes);
        self.after(wait, Ev::Up(conn));
    }

    pub(super) fn send_down(&mut self, conn: ConnId, frame: FromRelay) {
        let Some(host) = self.conns.get(&conn).filter(|c| !c.closing).map(|c| c.host) else { return };
        self.check_sent(host, &frame);
        let Some(frame) = self.maybe_stall(conn, frame) else { return };
        let frame = self.maybe_reorder(host, frame);
        let frame = self.maybe_withhold(host, frame);
        let delay = self.delay();
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let bytes = frame::write(&frame);
        c.last_down = (self.now + delay).max(c.last_down);
        let wait = c.last_down - self.now;
        c.down.push_back((c.last_down, bytes.clone()));
        self.note(|_| format!("relay → {host} on {conn}: {}", describe_down(&frame)));
        self.note_bytes(&bytes);
        self.after(wait, Ev::Down(conn));
    }

    pub(super) fn reach_relay(&mut self, conn: ConnId) {
        let now = self.now;
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let Some((_, bytes)) = c.up.pop_front_if(|(at, _)| *at <= now) else { return };
        if !self.relay_up || c.relay_end {
            return;
        }
        match frame::read::<ToRelay>(&bytes[4..]) {
            Ok(frame) => self.relay.frame(conn, frame, bytes.len(), now),
            Err(error) => self.fail("formats", format!("a frame does not read back: {error}")),
        }
    }

    pub(super) fn reach_device(&mut self, conn: ConnId) {
        let now = self.now;
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let host = c.host;
        let Some((_, bytes)) = c.down.pop_front_if(|(at, _)| *at <= now) else { return };
        let mut batch = vec![bytes];
        // What has arrived by now may share a transaction.
        while self.dice.chance(500)
            && let Some((_, bytes)) = self.conns.get_mut(&conn).and_then(|c| c.down.pop_front_if(|(at, _)| *at <= now))
        {
            batch.push(bytes);
        }
        if self.hosts[host].conn != Some(conn) {
            return;
        }
        let mut frames = Vec::with_capacity(batch.len());
        for bytes in batch {
            match frame::read::<FromRelay>(&bytes[4..]) {
                Ok(frame) => frames.push(frame),
                Err(error) => return self.fail("formats", format!("a frame does not read back: {error}")),
            }
        }
        self.frames_arrived(host, frames);
    }

    /// The stream breaks: some of what is on its way still arrives.
    pub(super) fn break_conn(&mut self, conn: ConnId) {
        let Some(c) = self.conns.get(&conn) else { return };
        if c.closing {
            return;
        }
        let (up, down) = (c.up.len(), c.down.len());
        let keep_up = self.dice.index(up + 1);
        let keep_down = self.dice.index(down + 1);
        self.counters.add_many("frames lost", (up - keep_up + down - keep_down) as u64);
        self.note(|_| format!("connection {conn} breaks; of {up} and {down} frames {keep_up} and {keep_down} arrive"));
        if let Some(c) = self.conns.get_mut(&conn) {
            c.up.truncate(keep_up);
            c.down.truncate(keep_down);
        }
        self.end_both(conn);
    }

    /// The relay ends the stream behind what it sent.
    pub(super) fn close_by_relay(&mut self, conn: ConnId) {
        if self.conns.get(&conn).is_some_and(|c| !c.closing) {
            self.note(|_| format!("the relay closes {conn}"));
            self.end_both(conn);
        }
    }

    fn end_both(&mut self, conn: ConnId) {
        let (lag_up, lag_down) = (self.delay(), self.delay());
        let now = self.now;
        let Some(c) = self.conns.get_mut(&conn) else { return };
        c.closing = true;
        let up = c.up.back().map_or(now, |(at, _)| *at).max(now) - now + lag_up;
        let down = c.down.back().map_or(now, |(at, _)| *at).max(now) - now + lag_down;
        self.after(up, Ev::RelayEnd(conn));
        self.after(down, Ev::DeviceEnd(conn));
    }

    pub(super) fn relay_learns_end(&mut self, conn: ConnId) {
        if let Some(c) = self.conns.get_mut(&conn) {
            c.relay_end = true;
            self.relay.ended(conn);
            self.forget(conn);
        }
    }

    pub(super) fn device_learns_end(&mut self, conn: ConnId) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        c.device_end = true;
        let host = c.host;
        if self.hosts[host].conn == Some(conn) {
            self.hosts[host].conn = None;
            self.note(|_| format!("device {host} is disconnected"));
            self.disconnected(host);
        }
        self.forget(conn);
    }

    fn forget(&mut self, conn: ConnId) {
        if self.conns.get(&conn).is_some_and(|c| c.relay_end && c.device_end) {
            self.conns.remove(&conn);
        }
    }

    /// Whether the stream has broken, and an end of it may not know yet.
    pub(super) fn is_closing(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_none_or(|c| c.closing)
    }

    /// The device lets go of its connection: by its will, or because it died.
    pub(super) fn drop_conn(&mut self, host: usize) {
        if let Some(conn) = self.hosts[host].conn.take() {
            self.break_conn(conn);
        }
    }
}

fn describe_up(frame: &ToRelay) -> String {
    match frame {
        ToRelay::Attach(a) => format!("attach {:?} stored {}", a.device, a.stored),
        ToRelay::Create(c) => format!("create {:?}", c.attach.group),
        ToRelay::Push(list) => {
            let seq = |b: &sync_types::Opaque| sync_types::Envelope::parse(b).map_or(0, |e| e.header.seq);
            format!("push {:?}", list.iter().map(seq).collect::<Vec<_>>())
        }
        ToRelay::Acknowledge(a) => format!("acknowledge {} with {} bytes", a.cursor, a.statement.len()),
        ToRelay::Commit(c) => format!("commit of {} bytes, {} welcomes", c.commit.len(), c.welcomes.len()),
        other => format!("{other:?}"),
    }
}

fn describe_down(frame: &FromRelay) -> String {
    match frame {
        FromRelay::Attached(a) => format!(
            "attached: epoch {} provisional {} head {} acknowledged {} newest {}",
            a.epoch,
            a.provisional,
            a.head.as_ref().map_or(0, |h| h.seq),
            a.acknowledged,
            a.newest
        ),
        FromRelay::Deliver(list) => {
            format!("deliver {:?}", list.iter().map(|e| (e.cursor, e.kind)).collect::<Vec<_>>())
        }
        FromRelay::Refused(r) => {
            format!(
                "refused {:?} {} retry {}: {}",
                r.about,
                r.code(),
                r.retry_after_ms,
                String::from_utf8_lossy(&r.message)
            )
        }
        other => format!("{other:?}"),
    }
}
