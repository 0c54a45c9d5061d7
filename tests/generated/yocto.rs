//! The list of crates that bitbake fetches: while it builds, cargo has no network.

/// Every crate of Cargo.lock that is not our own, and then their checksums.
pub fn crates() -> String {
    let lock = std::fs::read_to_string("Cargo.lock").unwrap();
    let (mut list, mut sums) = (String::from("SRC_URI += \"\\\n"), String::from("\"\n\n"));
    for package in lock.split("[[package]]").filter(|package| package.contains("\nchecksum = ")) {
        let field = |name: &str| package.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim_matches('"');
        let (name, version, sum) = (field("name = "), field("version = "), field("checksum = "));
        list += &format!("    crate://crates.io/{name}/{version} \\\n");
        sums += &format!("SRC_URI[{name}-{version}.sha256sum] = \"{sum}\"\n");
    }
    list + &sums
}
