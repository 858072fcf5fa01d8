import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TaskAttribute } from '#scsi/mod.ts';
import { Task } from './task.ts';
import { TaskQueue } from './task-queue.ts';
import { TaskSet } from './task-set.ts';

const { SIMPLE, ORDERED, HEAD_OF_QUEUE } = TaskAttribute;

/** Runs arrivals (attributes) and ends (`end N`) and returns the order in which tasks started. */
function run(script: readonly (number | `end ${number}`)[]): number[] {
  const set = new TaskSet();
  const tasks: Task[] = [];
  const started: number[] = [];
  for (const step of script) {
    if (typeof step === 'number') {
      const task = new Task(tasks.length);
      task.attribute = step;
      tasks.push(task);
      if (set.admit(task)) started.push(task.slot);
    } else {
      set.ended(tasks[Number(step.slice(4))]!);
      for (let next = set.next(); next !== undefined; next = set.next()) started.push(next.slot);
    }
  }
  return started;
}

test('simple tasks start as they come', () => {
  assert.deepEqual(run([SIMPLE, SIMPLE, SIMPLE]), [0, 1, 2]);
});

test('an ordered task waits for older ones, newer ones wait for it', () => {
  assert.deepEqual(run([SIMPLE, SIMPLE, ORDERED, SIMPLE, 'end 0']), [0, 1]);
  assert.deepEqual(run([SIMPLE, ORDERED, SIMPLE, SIMPLE, 'end 0']), [0, 1]);
  assert.deepEqual(run([SIMPLE, ORDERED, SIMPLE, SIMPLE, 'end 0', 'end 1']), [0, 1, 2, 3]);
  assert.deepEqual(run([ORDERED, ORDERED, SIMPLE, 'end 0', 'end 1']), [0, 1, 2]);
});

test('head of queue starts at once, newer ones wait for it', () => {
  assert.deepEqual(run([SIMPLE, ORDERED, HEAD_OF_QUEUE]), [0, 2]);
  assert.deepEqual(run([HEAD_OF_QUEUE, SIMPLE]), [0]);
  assert.deepEqual(run([HEAD_OF_QUEUE, SIMPLE, 'end 0']), [0, 1]);
});

test('the queue keeps its order while it wraps, grows and loses members', () => {
  const queue = new TaskQueue();
  const tasks = Array.from({ length: 100 }, (_, i) => new Task(i));
  for (const t of tasks.slice(0, 10)) queue.push(t);
  for (let i = 0; i < 8; i++) assert.equal(queue.shift()?.slot, i);
  for (const t of tasks.slice(10, 60)) queue.push(t);
  queue.unshift(tasks[99]!);
  queue.remove(tasks[30]!);
  assert.equal(queue.length, 52);
  assert.equal(queue.peek()?.slot, 99);
  const rest = queue.toArray().map((t) => t.slot);
  assert.deepEqual(rest.slice(0, 4), [99, 8, 9, 10]);
  assert.ok(!rest.includes(30));
  for (const slot of rest) assert.equal(queue.shift()?.slot, slot);
  assert.equal(queue.shift(), undefined);
});
