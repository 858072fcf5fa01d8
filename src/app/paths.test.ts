import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from './config.ts';
import { cacheFolder, defaultSocket, pathsOf } from './paths.ts';

test('an empty XDG variable is none, and a relative one is ignored', () => {
  const config = parseConfig('', '');
  for (const bad of ['', 'here']) {
    const env = { HOME: '/h', XDG_CACHE_HOME: bad, XDG_DATA_HOME: bad, XDG_RUNTIME_DIR: bad };
    assert.equal(cacheFolder(env), '/h/.cache/polyboot');
    assert.equal(pathsOf(config, env, false).state, '/h/.local/share/polyboot');
    assert.equal(defaultSocket(env, false), '/run/polyboot/admin.sock');
  }
  const env = { HOME: '/h', XDG_CACHE_HOME: '/c', XDG_DATA_HOME: '/d', XDG_RUNTIME_DIR: '/r' };
  assert.equal(cacheFolder(env), '/c/polyboot');
  assert.equal(pathsOf(config, env, false).state, '/d/polyboot');
  assert.equal(defaultSocket(env, false), '/r/polyboot/admin.sock');
});

test('an empty HOME is none: nothing is kept in whatever folder the command was typed in', () => {
  const config = parseConfig('', '');
  for (const env of [{}, { HOME: '' }]) {
    assert.equal(cacheFolder(env), '/var/.cache/polyboot');
    assert.equal(pathsOf(config, env, false).state, '/.local/share/polyboot');
  }
});
