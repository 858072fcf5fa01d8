import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IttTable } from './itt-table.ts';

test('behaves as a Map, whatever the tags', () => {
  const table = new IttTable(64);
  const model = new Map<number, number>();
  let x = 1;
  const random = (below: number): number => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor((x / 2 ** 32) * below);
  };
  const shapes = [
    (n: number): number => n,
    (n: number): number => n * 0x01000000,
    (n: number): number => 0xffffffff - n,
    (n: number): number => Math.imul(n, 0x9e3779b1) >>> 0,
  ];
  for (let i = 0; i < 200_000; i++) {
    const tag = shapes[i % 4]!(random(48)) >>> 0;
    if (model.has(tag)) {
      assert.equal(table.find(tag), model.get(tag));
      table.remove(tag);
      model.delete(tag);
    } else if (model.size < 64) {
      assert.equal(table.find(tag), -1);
      table.add(tag, i % 288);
      model.set(tag, i % 288);
    }
  }
  for (const [tag, slot] of model) assert.equal(table.find(tag), slot);
  table.remove(12345678);
});
