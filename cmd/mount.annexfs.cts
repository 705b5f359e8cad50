#!/usr/bin/env node
import path = require('node:path')
import load = require('../lib/load.cjs')

// What mount(8) runs for `mount -t annexfs` and for lines of fstab. CommonJS for the same reason as annexfs.cts.
process.env['UV_THREADPOOL_SIZE'] ??= '16'
load('mount-helper', path.join(__dirname, 'mount-helper.js'))
