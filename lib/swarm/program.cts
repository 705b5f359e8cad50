import path = require('node:path')
import load = require('../load.cjs')

// What the mount starts: process.ts and all that it loads, as one script.
load('swarm', path.join(__dirname, 'process.js'))
