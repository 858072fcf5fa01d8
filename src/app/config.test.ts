import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '#base/mod.ts';
import { parseConfig } from './config.ts';

test('an empty file is a whole configuration: proxyDHCP is nobody’s harm', () => {
  const config = parseConfig('', 'polyboot.yaml');
  assert.equal(config.http.port, 8080);
  assert.equal(config.iscsi.port, 3260);
  assert.deepEqual(config.networks, []);
});

test('pools and durations in the spelling of people', () => {
  const config = parseConfig(
    `
networks:
  - interface: br0
    dhcp: server
    pool: 10.77.0.100-200
    lease: 12h
`,
    'polyboot.yaml',
  );
  const network = config.networks[0];
  assert.deepEqual(network?.pool, { first: '10.77.0.100', last: '10.77.0.200' });
  assert.equal(network?.lease, 43_200);
});

test('every fault is named at once, with its line', () => {
  const text = `http:
  port: 99999
networks:
  - interface: br0
    dhcp: server
    router: 10.0.0
  - interface: eth1
    dhpc: proxy
    reservations:
      - mac: zz
        address: 10.0.0.1
`;
  assert.throws(
    () => parseConfig(text, 'polyboot.yaml'),
    (e) => {
      assert.ok(e instanceof UserError);
      assert.match(e.message, /polyboot\.yaml:2: http\.port/);
      assert.match(e.message, /polyboot\.yaml:6: networks\[0\]\.router: an IPv4 address/);
      assert.match(e.message, /polyboot\.yaml:8: networks\[1\]\.dhpc: there is no such setting/);
      assert.match(e.message, /polyboot\.yaml:10: networks\[1\]\.reservations\[0\]\.mac: a MAC/);
      return true;
    },
  );
});

test('folders are absolute, wherever it is started', () => {
  for (const key of ['state', 'images', 'files']) {
    assert.throws(() => parseConfig(`${key}: ./here`, 'c.yaml'), /c\.yaml:1: .*an absolute path/);
    assert.throws(() => parseConfig(`${key}: ~/here`, 'c.yaml'), /c\.yaml:1: .*an absolute path/);
  }
  assert.equal(parseConfig('state: /srv/polyboot', 'c.yaml').state, '/srv/polyboot');
});

test('an interface that is named twice is the file’s fault, not that of a port', () => {
  const twice = 'networks:\n  - interface: br0\n  - interface: br1\n  - interface: br0\n';
  assert.throws(
    () => parseConfig(twice, 'c.yaml'),
    /c\.yaml:4: networks\[2\]\.interface: br0 is named twice/,
  );
});

test('a lease lasts a second at least, and a year at most', () => {
  const leaseOf = (lease: string): number | undefined =>
    parseConfig(`networks: [{ interface: br0, lease: ${lease} }]`, 'c.yaml').networks[0]?.lease;
  assert.deepEqual([leaseOf('1s'), leaseOf('90'), leaseOf('365d')], [1, 90, 31_536_000]);
  for (const lease of ['0s', '0', '366d', '60000d', '99999999999'])
    assert.throws(() => leaseOf(lease), /c\.yaml:1: networks\[0\]\.lease/, lease);
});

test('a setting that nothing heeds is no setting', () => {
  assert.throws(() => parseConfig('iscsi: { maxTransfer: 4M }', 'c.yaml'), /no such setting/);
});

test('a DHCP server without a pool is told so', () => {
  assert.throws(
    () => parseConfig('networks: [{ interface: br0, dhcp: server }]', 'c.yaml'),
    /c\.yaml:1: networks\[0\]\.pool|networks\[0\]: .*pool/,
  );
});

test('broken YAML, an alias bomb and a huge file are refused, not executed', () => {
  assert.throws(() => parseConfig('a: [1, 2', 'c.yaml'), /c\.yaml:1:/);
  assert.throws(() => parseConfig('#'.repeat(2 ** 21), 'c.yaml'), /larger than 1 MiB/);
  let bomb = 'a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n';
  for (let i = 1; i < 9; i++)
    bomb += `a${i}: &a${i} [${Array(10)
      .fill(`*a${i - 1}`)
      .join(',')}]\n`;
  assert.throws(() => parseConfig(bomb, 'c.yaml'), { name: 'UserError' });
});
