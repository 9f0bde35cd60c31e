#!/bin/sh
# Makes the image's user and the folders that are volumes, owned by it: an empty volume takes the owner of what it covers.
set -eu

echo 'qwend:x:10001:10001:qwend:/var/lib/qwend:/usr/sbin/nologin' >> /etc/passwd
echo 'qwend:x:10001:' >> /etc/group
mkdir -p /models /var/cache/qwend /var/lib/qwend
chown 10001:10001 /var/cache/qwend /var/lib/qwend
