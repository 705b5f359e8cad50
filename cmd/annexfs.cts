#!/usr/bin/env node
import path = require('node:path')
import load = require('../lib/load.cjs')

// The entry is CommonJS because the size of libuv's thread pool must be set before anything uses the pool, and loading
// an ES module does. Four threads, the default, are one hung network file system away from none.
process.env['UV_THREADPOOL_SIZE'] ??= '16'
load('main', path.join(__dirname, 'main.js'))
