//! What a processor can do that programs may have come to count on.

use std::{collections::BTreeSet, fs, io};

/// The features of this machine that programs see, by the kernel's names; those
/// of all its processors.
///
/// # Errors
/// `/proc/cpuinfo` cannot be read.
pub fn features() -> io::Result<BTreeSet<String>> {
    Ok(parse(&fs::read_to_string("/proc/cpuinfo")?))
}

/// Those that every processor of `text`, a `/proc/cpuinfo`, has.
fn parse(text: &str) -> BTreeSet<String> {
    let of_one = |line: &str| {
        let (key, value) = line.split_once(':')?;
        let names = value.split_whitespace().map(str::to_owned);
        match key.trim() {
            "flags" => Some(names.filter(|name| is_instruction(name)).collect()),
            // On Arm, all of them are of instructions.
            "Features" => Some(names.collect()),
            _ => None,
        }
    };
    let all: Vec<BTreeSet<String>> = text.lines().filter_map(of_one).collect();
    all.into_iter().reduce(|a, b| &a & &b).unwrap_or_default()
}

/// Whether an x86 flag is of instructions or registers that programs use. Most
/// flags are the kernel's own affair: how it measures time, what it works around,
/// what its hypervisor offers.
fn is_instruction(flag: &str) -> bool {
    const FAMILIES: [&str; 5] = ["avx", "amx_", "sse", "xsave", "sha"];
    const SINGLE: [&str; 50] = [
        "3dnow",
        "3dnowext",
        "3dnowprefetch",
        "abm",
        "adx",
        "aes",
        "bmi1",
        "bmi2",
        "cldemote",
        "clflush",
        "clflushopt",
        "clwb",
        "clzero",
        "cmov",
        "cmpccxadd",
        "cx16",
        "cx8",
        "enqcmd",
        "f16c",
        "fma",
        "fma4",
        "fpu",
        "fsgsbase",
        "fxsr",
        "gfni",
        "hle",
        "lahf_lm",
        "lm",
        "mmx",
        "mmxext",
        "movbe",
        "movdir64b",
        "movdiri",
        "pclmulqdq",
        "pku",
        "pni",
        "popcnt",
        "prefetchwt1",
        "rdpid",
        "rdrand",
        "rdseed",
        "rdtscp",
        "rtm",
        "serialize",
        "sm3",
        "sm4",
        "ssse3",
        "tbm",
        "vaes",
        "vpclmulqdq",
    ];
    const MORE: [&str; 5] = ["waitpkg", "xgetbv1", "xop", "user_shstk", "ospke"];
    FAMILIES.iter().any(|family| flag.starts_with(family))
        || SINGLE.contains(&flag)
        || MORE.contains(&flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_count_and_the_kernel_s_own_flags_do_not() {
        let text = "processor\t: 0\nflags\t\t: fpu avx2 avx512f constant_tsc sha_ni hypervisor\n\
                    bugs\t\t: spectre_v1\n\nprocessor\t: 1\nflags\t\t: fpu avx2 sha_ni rep_good\n";
        let features: Vec<String> = parse(text).into_iter().collect();
        assert_eq!(features, ["avx2", "fpu", "sha_ni"], "those of both processors");
        let arm = "processor\t: 0\nFeatures\t: fp asimd atomics\nCPU part\t: 0xd0c\n";
        assert_eq!(parse(arm).len(), 3);
        assert!(parse("").is_empty());
    }

    #[test]
    fn this_machine_has_some() {
        assert!(features().unwrap().len() > 3);
    }
}
