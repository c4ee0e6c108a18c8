#!/bin/sh
# Installs the js-libp2p peer of the interoperability tests into the git-ignored node_modules beside this script.
set -eu
cd "$(dirname "$0")"
npm ci --no-audit --no-fund
node_modules/.bin/node --version
