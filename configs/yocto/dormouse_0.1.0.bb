SUMMARY = "Holds the sockets of services that sleep"
DESCRIPTION = "Dormouse holds the sockets of services that are not running, and starts a service when a connection or \
               a datagram arrives. A successor of inetd with the directives of systemd.socket."
HOMEPAGE = "https://example.org/dormouse"
BUGTRACKER = "https://example.org/dormouse/issues"
SECTION = "net"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "\
    file://LICENSE-MIT;md5=2d969d3d9579e91abe28467281a7c96f \
    file://LICENSE-APACHE;md5=3b83ef96387f14655fc854ddc3c6bd57 \
"

# Where the release archives are, and the checksum of this one, which bitbake tells when it has fetched it.
SRC_URI = "https://example.org/dormouse/dormouse-${PV}.tar.gz"
SRC_URI[sha256sum] = "0000000000000000000000000000000000000000000000000000000000000000"

CVE_PRODUCT = "dormouse"

require ${BPN}-crates.inc

inherit cargo cargo-update-recipe-crates systemd

SYSTEMD_SERVICE:${PN} = "dormouse.service"

do_install:append() {
    # cargo installs to bindir, the scripts look in sbindir
    install -d ${D}${sbindir}
    mv ${D}${bindir}/dormouse ${D}${sbindir}/dormouse
    rmdir ${D}${bindir}

    install -D -m 0644 ${S}/configs/router.conf ${D}${sysconfdir}/dormouse.conf
    install -D -m 0644 ${S}/configs/man/dormouse.8 ${D}${mandir}/man8/dormouse.8
    install -D -m 0644 ${S}/configs/man/dormouse.conf.5 ${D}${mandir}/man5/dormouse.conf.5
    if ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'true', 'false', d)}; then
        install -D -m 0644 ${S}/configs/systemd/dormouse.service ${D}${systemd_system_unitdir}/dormouse.service
    fi
}

CONFFILES:${PN} = "${sysconfdir}/dormouse.conf"
