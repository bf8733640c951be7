"""Running ratbond as a service: units for systemd, an init script for OpenWrt's procd."""
