//! `relay-check`: each kind of relay that this machine can run, with two devices that pair and sync over it. What it cannot run is
//! named as such.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::Instant;

use crate::container::Engine;
use crate::database::Database;
use crate::device::{Device, pair, pair_as, pair_by_code};
use crate::process::build;
use crate::relay::Relay;
use crate::{Failure, failed, fresh_folder, no_arguments, setup};

const CHANNEL: &str = "check";
const CONTAINER: &str = "2 container";
/// The key of the relays that share a database: any will do, nobody else comes here.
const SECRET: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// One kind of relay.
struct Tier {
    name: &'static str,
    /// What the app's one value is.
    value: &'static str,
    check: fn(&Bench) -> Result<String, Failure>,
}

const TIERS: &[Tier] = &[
    Tier { name: "1 vibe coder", value: "embedded", check: embedded },
    Tier { name: "2 home", value: "ksync://ENDPOINT@host:port", check: one_binary },
    Tier { name: CONTAINER, value: "the same", check: container },
    Tier { name: "3 PaaS, tunnel", value: "https://… (here http:// on loopback)", check: without_udp },
    Tier { name: "4 community", value: "ksync://…#token", check: with_tokens },
    Tier { name: "5, 6 several nodes", value: "ksync://ENDPOINT@a:port,b:port", check: two_nodes },
    Tier { name: "any to any", value: "another value than before", check: moves },
];

const NOT_RUN: &[&str] = &[
    "a real platform (fly, render) and a real Cloudflare tunnel: there is no way to them from here",
    "HTTPS with UDP cut off, in a network of its own: `cargo xtask test` has it (sync-cli, e2e::network)",
];

/// Where things lie.
struct Bench {
    programs: PathBuf,
    folder: PathBuf,
}

/// `cargo xtask relay-check`
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    no_arguments(args)?;
    setup::for_relays()?;
    // Not every machine can run containers, and the other tiers are none the worse for it.
    let without_containers = setup::for_containers().err();
    let programs = build(&["sync-relay", "ksync"])?;
    let folder = fresh_folder("relay-check")?;
    let mut failures = Vec::new();
    println!("\n{:<20} {:<38} {:>6}  what was seen", "tier", "the app's one value", "s");
    for (number, tier) in TIERS.iter().enumerate() {
        if tier.name == CONTAINER && without_containers.is_some() {
            continue;
        }
        let bench = Bench { programs: programs.clone(), folder: folder.join(number.to_string()) };
        std::fs::create_dir(&bench.folder).map_err(|e| failed("make a folder", e))?;
        let began = Instant::now();
        let seen = (tier.check)(&bench);
        let text = seen.as_ref().map_or_else(|error| format!("FAILED: {error}"), Clone::clone);
        println!("{:<20} {:<38} {:>6.1}  {text}", tier.name, tier.value, began.elapsed().as_secs_f64());
        failures.extend(seen.err().map(|error| format!("{}: {error}", tier.name)));
    }
    println!("\nNot run here:");
    without_containers.iter().for_each(|why| println!("  a container: {why}"));
    NOT_RUN.iter().for_each(|what| println!("  {what}"));
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

impl Bench {
    fn device(&self, name: &str) -> Device {
        Device { program: self.programs.join("ksync"), home: self.folder.join(name) }
    }

    fn relay(&self, arguments: &[&str]) -> Result<Relay, Failure> {
        Relay::start_with(&self.programs, &self.folder.join("relay"), arguments, &[])
    }

    /// Two devices that are paired over this relay.
    fn pair(&self, value: &str) -> Result<(Device, Device), Failure> {
        let (laptop, phone) = (self.device("laptop"), self.device("phone"));
        laptop.call(&["init", "--name", "Laptop", "--relay", value])?;
        pair(&laptop, &phone, |_| ())?;
        Ok((laptop, phone))
    }
}

/// One writes while the other is away, and the other way round.
fn both_ways(laptop: &Device, phone: &Device) -> Result<(), Failure> {
    for (from, to, text) in [(laptop, phone, "from the laptop"), (phone, laptop, "from the phone")] {
        from.push(CHANNEL, &[text.to_owned()])?;
        arrives(to, &[text])?;
    }
    Ok(())
}

fn arrives(at: &Device, expected: &[&str]) -> Result<(), Failure> {
    let got = at.pull(CHANNEL)?;
    if got == expected { Ok(()) } else { Err(format!("{got:?} arrived, and not {expected:?}")) }
}

/// How the first relay of a device is reached.
fn path(of: &Device) -> Result<String, Failure> {
    let listed = of.call(&["relay", "list"])?;
    Ok(listed.first().and_then(|relay| relay["path"].as_str()).unwrap_or("not at all").to_owned())
}

fn embedded(bench: &Bench) -> Result<String, Failure> {
    let (laptop, phone) = bench.pair("embedded")?;
    let desk = bench.device("desk");
    pair_as(&laptop, &desk, "Desk", |_| ())?;
    // The phone was away when the desk came, and hears of it from the laptop.
    let hosting = desk.start(&["run"])?;
    let told = laptop.start(&["run"])?;
    let mut looks = 0..20;
    while phone.call(&["relay", "list"])?.len() < 3 {
        looks.next().ok_or("the phone hears nothing of the desk's mailbox")?;
    }
    told.interrupt()?;
    // Laptop and phone are up for a moment each from here on, and never together: what one has for the other goes by the desk.
    for _ in 0..2 {
        both_ways(&laptop, &phone)?;
    }
    hosting.interrupt()?;
    Ok("three paired; two that were never up together synced both ways through the third".to_owned())
}

fn one_binary(bench: &Bench) -> Result<String, Failure> {
    let relay = bench.relay(&[])?;
    let (laptop, phone) = bench.pair(&relay.address)?;
    both_ways(&laptop, &phone)?;
    let path = path(&laptop)?;
    relay.stop()?;
    Ok(format!("paired; synced both ways, by {path}"))
}

/// What the relay holds lies in the volume: one that is killed goes on from there, in another container.
fn container(bench: &Bench) -> Result<String, Failure> {
    let engine = Engine::with_image()?;
    let (udp, http) = (free_port()?, free_port()?);
    let log = bench.folder.join("container.log");
    let relay = engine.start("first", udp, http, &log)?;
    relay.is_well()?;
    let (rss, pss) = relay.memory()?;
    let (laptop, phone) = bench.pair(&relay.address)?;
    both_ways(&laptop, &phone)?;
    laptop.push(CHANNEL, &["accepted before the kill".to_owned()])?;
    relay.kill()?;
    let relay = engine.start("second", udp, http, &log)?;
    arrives(&phone, &["accepted before the kill"])?;
    both_ways(&laptop, &phone)?;
    relay.is_well()?;
    let took = relay.stop()?;
    Ok(format!(
        "an image of {:.1} MB, RSS {rss} KiB, PSS {pss} KiB, healthy; paired; synced both ways; killed, another goes on with its \
         volume; stopped in {:.1} s",
        engine.image_size()? as f64 / 1e6,
        took.as_secs_f64()
    ))
}

fn without_udp(bench: &Bench) -> Result<String, Failure> {
    let relay = bench.relay(&["--listen", "off"])?;
    let (laptop, phone) = bench.pair(&relay.address)?;
    both_ways(&laptop, &phone)?;
    let path = path(&laptop)?;
    relay.stop()?;
    Ok(format!("paired; synced both ways, by {path} and no UDP at all"))
}

fn with_tokens(bench: &Bench) -> Result<String, Failure> {
    let tokens = bench.folder.join("tokens");
    std::fs::write(&tokens, "a-token-of-some-length\n").map_err(|e| failed("write the tokens", e))?;
    let relay = bench.relay(&["--access", &format!("token:{}", tokens.display())])?;
    let stranger = bench.device("stranger");
    stranger.call(&["init", "--name", "Stranger", "--relay", &relay.address])?;
    if stranger.call(&["--timeout", "5", "pull"]).is_ok() {
        return Err("somebody without a token made a group".to_owned());
    }
    let (laptop, phone) = bench.pair(&format!("{}#a-token-of-some-length", relay.address))?;
    both_ways(&laptop, &phone)?;
    relay.stop()?;
    Ok("refused without a token; paired with one; synced both ways".to_owned())
}

fn two_nodes(bench: &Bench) -> Result<String, Failure> {
    let database = Database::start(&bench.folder)?;
    let (a, b) = (free_port()?, free_port()?);
    let node = |name: &str, port: u16| {
        let listen = format!("127.0.0.1:{port}");
        let arguments = ["--store", &*database.url, "--listen", &*listen];
        Relay::start_with(&bench.programs, &bench.folder.join(name), &arguments, &[("KSYNC_RELAY_SECRET", SECRET)])
    };
    let (first, second) = (node("first", a)?, node("second", b)?);
    let (laptop, phone) = bench.pair(&format!("{},127.0.0.1:{b}", first.address))?;
    both_ways(&laptop, &phone)?;
    // A device comes to the node that is named first: this one has the other in that place.
    let tablet = bench.device("tablet");
    pair_by_code(&laptop, &tablet, &format!("{},127.0.0.1:{a}", second.address))?;
    laptop.push(CHANNEL, &["to both".to_owned()])?;
    // With what there was before it came.
    arrives(&tablet, &["from the laptop", "from the phone", "to both"])?;
    arrives(&phone, &["to both"])?;
    laptop.push(CHANNEL, &["accepted by one node".to_owned()])?;
    drop(first);
    arrives(&phone, &["accepted by one node"])?;
    both_ways(&laptop, &phone)?;
    second.stop()?;
    Ok("paired at one node, and by code across two; synced both ways; the first killed, the other goes on with all of it".to_owned())
}

fn moves(bench: &Bench) -> Result<String, Failure> {
    let (laptop, phone) = bench.pair("embedded")?;
    let own = bench.relay(&[])?;
    laptop.call(&["push", "--channel", CHANNEL, &bench.text("pushed before")?])?;
    laptop.call(&["relay", "set", &own.address])?;
    // The phone was away: it comes to where it left the group, which the laptop keeps open, and follows.
    let hosting = laptop.start(&["run"])?;
    arrives(&phone, &["pushed before"])?;
    hosting.interrupt()?;
    both_ways(&laptop, &phone)?;
    own.stop()?;
    Ok("from embedded to an own relay with one device away: followed, nothing paired anew, nothing lost".to_owned())
}

impl Bench {
    /// A file with this text, by its path.
    fn text(&self, text: &str) -> Result<String, Failure> {
        let path = self.folder.join("text");
        std::fs::write(&path, text).map_err(|e| failed("write a text", e))?;
        Ok(path.display().to_string())
    }
}

/// A UDP port that nobody has at this moment.
fn free_port() -> Result<u16, Failure> {
    let socket = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    socket.map(|address| address.port()).map_err(|e| failed("find a free port", e))
}
