import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseNeighbours } from './neighbours.ts';

test('the neighbour table, incomplete entries left out', () => {
  const table = parseNeighbours(
    `IP address       HW type     Flags       HW address            Mask     Device
10.77.0.100      0x1         0x2         52:54:00:77:00:01     *        br0
10.77.0.101      0x1         0x0         00:00:00:00:00:00     *        br0
garbage
`,
  );
  assert.deepEqual([...table], [['10.77.0.100', '52:54:00:77:00:01']]);
});
