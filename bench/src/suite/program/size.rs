//! How large redirectd's programs and maps are.

use std::{fs, os::fd::AsFd as _, os::fd::AsRawFd as _, path::Path};

use anyhow::{Context, Result};
use aya::{
    maps::MapInfo,
    programs::{ProgramInfo, loaded_programs},
};

use crate::{recorder::Recorder, result::Better};

/// Sizes of programs.
const PROGRAMS: &str = "size of the programs";
/// Memory of maps.
const MAPS: &str = "memory of the maps";
/// Room in maps.
const ENTRIES: &str = "entries of the maps";
/// Most bytes of a name in the kernel: BPF_OBJ_NAME_LEN less its terminating zero.
const NAME: usize = 15;
/// Bytes of an instruction of the kernel's own form.
const INSTRUCTION: u32 = 8;

/// Records what the kernel says of everything pinned in `pins`, and of the
/// programs that use it.
///
/// # Errors
/// The kernel does not say.
pub(super) fn record(recorder: &mut Recorder, pins: &Path) -> Result<()> {
    let maps = maps(pins)?;
    recorder.metric(PROGRAMS, "", Better::Neither).digits = 0;
    for program in programs(&maps) {
        let name = &name(&program, &maps);
        let mut figure = |what: &str, value: Option<u32>| {
            if let Some(value) = value {
                recorder.record(PROGRAMS, name, what, value.into());
            }
        };
        figure("instructions", program.size_translated().map(|bytes| bytes / INSTRUCTION));
        figure("bytes of machine code", Some(program.size_jitted()));
        figure("instructions verified", program.verified_instruction_count());
    }
    recorder.metric(MAPS, "KiB", Better::Neither).digits = 1;
    recorder.metric(ENTRIES, "", Better::Neither).digits = 0;
    for (name, map) in &maps {
        recorder.record(MAPS, name, "memory", memory(map)? as f64 / 1024.0);
        recorder.record(ENTRIES, name, "room", map.max_entries().into());
        recorder.record(ENTRIES, name, "bytes of a key", map.key_size().into());
        recorder.record(ENTRIES, name, "bytes of a value", map.value_size().into());
    }
    Ok(())
}

/// The maps pinned in `folder`, by name; their names are in capitals, those of
/// links are not.
fn maps(folder: &Path) -> Result<Vec<(String, MapInfo)>> {
    let mut maps = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(|first: char| first.is_ascii_uppercase()) {
            let map = MapInfo::from_pin(folder.join(&name))
                .with_context(|| format!("the kernel says nothing of the map {name}"))?;
            maps.push((name, map));
        }
    }
    maps.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(maps)
}

/// The loaded programs that use one of `maps`, by name, each once.
fn programs(maps: &[(String, MapInfo)]) -> Vec<ProgramInfo> {
    let ids: Vec<u32> = maps.iter().map(|(_, map)| map.id()).collect();
    let uses = |program: &ProgramInfo| {
        let of_redirectd = program.name_as_str().is_some_and(|name| name.starts_with("redirectd_"));
        of_redirectd
            && matches!(program.map_ids(), Ok(Some(used)) if used.iter().any(|id| ids.contains(id)))
    };
    let mut programs: Vec<ProgramInfo> = loaded_programs().flatten().filter(uses).collect();
    programs.sort_by(|a, b| a.name().cmp(b.name()));
    programs.dedup_by(|a, b| a.id() == b.id());
    programs
}

/// The name of a program. The kernel cuts names off, and with them the family
/// that it is for; the flow table that it uses tells it.
fn name(program: &ProgramInfo, maps: &[(String, MapInfo)]) -> String {
    let name = program.name_as_str().unwrap_or_default();
    if name.len() < NAME || name.ends_with(['4', '6']) {
        return name.to_owned();
    }
    let ipv6 = maps.iter().find(|(name, _)| name == "FLOWS6").map(|(_, map)| map.id());
    let uses_ipv6 = match (program.map_ids(), ipv6) {
        (Ok(Some(used)), Some(ipv6)) => used.contains(&ipv6),
        _ => false,
    };
    format!("{name}… (IPv{})", if uses_ipv6 { 6 } else { 4 })
}

/// Bytes that the kernel has for a map, by its own account.
fn memory(map: &MapInfo) -> Result<u64> {
    let fd = map.fd()?;
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    memlock(&text).with_context(|| format!("{path} does not tell the map's memory"))
}

fn memlock(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("memlock:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::memlock;

    #[test]
    fn memory_is_found_in_what_the_kernel_says_of_a_map() {
        assert_eq!(memlock("pos:\t0\nmap_type:\t1\nmemlock:\t4096\nmap_id:\t3\n"), Some(4096));
        assert_eq!(memlock("pos:\t0\n"), None);
    }
}
