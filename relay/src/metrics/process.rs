//! What the operating system says of this process. Linux tells it in files that cost nothing to read; elsewhere nothing is
//! said.

/// The process in figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Process {
    /// Memory that is resident, in bytes.
    pub(crate) resident_bytes: u64,
    /// Seconds of processor time, of the program and of the system for it.
    pub(crate) cpu_seconds: f64,
    /// Open files and sockets.
    pub(crate) open_files: u64,
}

/// How many ticks Linux counts in a second of processor time, on every architecture that this runs on.
const TICKS: f64 = 100.0;

/// Reads the figures; `None` where there are none.
pub(crate) fn read() -> Option<Process> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(Process { resident_bytes: resident(&status)?, cpu_seconds: cpu(&stat)?, open_files })
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1_024)
}

/// The 14th and 15th field of proc(5)'s `stat`. The second, the program's name in brackets, may hold anything.
fn cpu(stat: &str) -> Option<f64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) as f64 / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_files_are_read() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t   12345 kB\n"), Some(12_345 * 1_024));
        assert_eq!(cpu("7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0"), Some(3.0));
        #[cfg(target_os = "linux")]
        assert!(read().is_some_and(|process| process.resident_bytes > 100_000 && process.open_files > 2));
    }
}
