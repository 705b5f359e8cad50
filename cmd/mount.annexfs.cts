#!/usr/bin/env node
import fs = require('node:fs')
import path = require('node:path')

// What mount(8) runs for `mount -t annexfs` and for lines of fstab. CommonJS for the same reason as annexfs.cts.
process.env['UV_THREADPOOL_SIZE'] ??= '16'
const bundle = path.join(__dirname, '..', 'bundle', 'mount-helper.mjs')
void import(fs.existsSync(bundle) ? bundle : './mount-helper.js')
