################################################################################
#
# dormouse
#
################################################################################

DORMOUSE_VERSION = 0.1.0
# where the release archives are
DORMOUSE_SITE = https://example.org/dormouse
DORMOUSE_LICENSE = MIT or Apache-2.0
DORMOUSE_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE

# cargo installs to /usr/bin, the scripts look in /usr/sbin
define DORMOUSE_INSTALL_FILES
	mkdir -p $(TARGET_DIR)/usr/sbin
	mv -f $(TARGET_DIR)/usr/bin/dormouse $(TARGET_DIR)/usr/sbin/dormouse
	$(INSTALL) -D -m 0644 $(@D)/configs/router.conf \
		$(TARGET_DIR)/etc/dormouse.conf
endef
DORMOUSE_POST_INSTALL_TARGET_HOOKS += DORMOUSE_INSTALL_FILES

define DORMOUSE_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(DORMOUSE_PKGDIR)/S50dormouse \
		$(TARGET_DIR)/etc/init.d/S50dormouse
endef

define DORMOUSE_INSTALL_INIT_OPENRC
	$(INSTALL) -D -m 0755 $(@D)/configs/openrc/dormouse \
		$(TARGET_DIR)/etc/init.d/dormouse
	$(INSTALL) -D -m 0644 $(@D)/configs/openrc/dormouse.confd \
		$(TARGET_DIR)/etc/conf.d/dormouse
endef

define DORMOUSE_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(@D)/configs/systemd/dormouse.service \
		$(TARGET_DIR)/usr/lib/systemd/system/dormouse.service
endef

$(eval $(cargo-package))
