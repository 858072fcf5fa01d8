import { setTimeout as pause } from 'node:timers/promises';
import { readTextScreen, type VirtualMachine } from '#vm/mod.ts';

/** Memory has no events; four looks a second cost the guest nothing. */
const LOOK_MS = 250;

/** Waits until the guest's text screen shows `pattern`; returns the whole screen. */
export async function waitForScreen(
  machine: VirtualMachine,
  pattern: RegExp,
  limitMs: number,
): Promise<string> {
  const deadlineMs = machine.elapsedMs + limitMs;
  for (;;) {
    const screen = (await readTextScreen(machine.qmp, machine.folder)).join('\n');
    if (pattern.test(screen)) return screen;
    if (machine.elapsedMs > deadlineMs) {
      throw new Error(`${machine.spec.name} never showed ${pattern}:\n${screen.trim()}`);
    }
    await pause(LOOK_MS);
  }
}
