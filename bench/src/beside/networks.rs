//! Two network namespaces with nothing but loopback and a line between them. Nothing in them reaches any other host.

use std::time::Duration;

use serde_json::Value;

use crate::Outcome;
use crate::process::Process;

/// The addresses of the two, on their line.
pub(super) const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];
/// What the namespaces' names begin with; the number of this process follows, and a letter.
const PREFIX: &str = "ksyncbench";
/// How many packets wait in a device for whoever reads it.
const DEVICE_QUEUE: &str = "4096";

/// What a line does to packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// In each direction.
    pub(super) delay: Duration,
    /// Of a thousand packets, in each direction.
    pub(super) loss_per_mille: u64,
}

/// The namespaces. They are gone when this is dropped.
pub(super) struct Networks {
    names: [String; 2],
}

impl Networks {
    pub(super) fn make() -> Outcome<Self> {
        clear_left()?;
        let names = ["a", "b"].map(|side| format!("{PREFIX}{}{side}", std::process::id()));
        let made = Self { names };
        for name in &made.names {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        Ok(made)
    }

    /// What stands before a program that runs in one of them.
    pub(super) fn into(&self, side: usize) -> Vec<String> {
        ["ip", "netns", "exec", &self.names[side]].map(str::to_owned).to_vec()
    }

    /// Joins the two by such a line, for as long as that lives.
    pub(super) async fn join(&self, line: Line) -> Outcome<Joined> {
        let devices = ["a", "b"].map(|side| format!("kb{}{side}", std::process::id()));
        let (delay, loss) = (line.delay.as_micros().to_string(), line.loss_per_mille.to_string());
        let mut process = Process::helper(&["impairer", &devices[0], &devices[1], &delay, &loss])?;
        process.line().await?;
        for ((device, name), address) in devices.iter().zip(&self.names).zip(ADDRESSES) {
            ip(&["link", "set", device, "netns", name])?;
            ip(&["-n", name, "address", "add", &format!("{address}/30"), "dev", device])?;
            ip(&["-n", name, "link", "set", device, "txqueuelen", DEVICE_QUEUE, "up"])?;
        }
        Ok(Joined { process })
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

/// A line that is there.
pub(super) struct Joined {
    process: Process,
}

impl Joined {
    /// How much processor time it has used, in seconds.
    pub(super) fn cpu(&self) -> Outcome<f64> {
        self.process.cpu()
    }

    /// Takes it away, and says what became of the packets.
    pub(super) async fn part(mut self) -> Outcome<String> {
        self.process.signal("TERM").await?;
        let told: Value = serde_json::from_str(&self.process.line().await?)?;
        let number = |field: &str| told[field].as_u64().unwrap_or_default();
        let (passed, lost, overflowed) = (number("passed"), number("lost"), number("overflowed"));
        Ok(format!("{passed} packets passed, {lost} were lost by chance and {overflowed} for want of room"))
    }
}

/// Deletes namespaces whose process was killed before it could.
fn clear_left() -> Outcome<()> {
    for line in ip(&["netns", "list"])?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let Some(id) = name.strip_prefix(PREFIX).map(|rest| rest.trim_end_matches(['a', 'b'])) else { continue };
        if id.parse::<u32>().is_ok() && !std::path::Path::new("/proc").join(id).exists() {
            ip(&["netns", "delete", name])?;
        }
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Outcome<String> {
    let ran = std::process::Command::new("ip").args(arguments).output()?;
    if ran.status.success() {
        return Ok(String::from_utf8_lossy(&ran.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    Err(format!("`ip {}` failed, which takes root: {}", arguments.join(" "), said.trim()).into())
}
