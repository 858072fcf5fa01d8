import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { FakeServices } from '../../src/api/fake-services.ts';
import { startAdminServer, type AdminServer } from '../../src/api/server.ts';
import { runCli, type LocalCommands } from '../../src/cli/mod.ts';

export type Ran = { code: number; out: string; err: string };

/** The command line against a real admin server on a real socket; only images have no bytes. */
export type Setup = {
  services: FakeServices;
  folder: string;
  socket: string;
  server: AdminServer;
  /** Runs one command line, given as a person types it (no quoting). */
  cli: (line: string, more?: Partial<Start>) => Promise<Ran>;
  start: (line: string, more?: Partial<Start>) => Started;
};
export type Start = { isTty: boolean; env: Record<string, string>; local: Partial<LocalCommands> };
export type Started = {
  done: Promise<Ran>;
  stop: AbortController;
  out: () => string;
  err: () => string;
  /** Waits until what was written matches. */
  until: (pattern: RegExp) => Promise<void>;
};

export async function setUp(t: TestContext): Promise<Setup> {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-cli-'));
  const socket = join(folder, 'admin.sock');
  const services = new FakeServices();
  const server = await startAdminServer({ services, socketPath: socket, version: '0.1.0' });
  t.after(async () => {
    await server.close();
    rmSync(folder, { recursive: true });
  });
  const start = (line: string, more: Partial<Start> = {}): Started =>
    startCli(line, socket, folder, more);
  return { services, folder, socket, server, start, cli: (line, more) => start(line, more).done };
}

const refuse = (): never => assert.fail('not expected here');
const LOCAL: LocalCommands = {
  up: refuse,
  demo: refuse,
  doctor: refuse,
  export: refuse,
  install: refuse,
  steerInstall: refuse,
  installs: refuse,
};

function startCli(line: string, socket: string, cwd: string, more: Partial<Start>): Started {
  let [out, err] = ['', ''];
  let wake: () => void = () => undefined;
  const { isTty = false, env = {}, local = {} } = more;
  const size = isTty ? { columns: 100, rows: 30 } : {};
  const write = (add: (text: string) => void) => (text: string) => {
    add(text);
    wake();
  };
  const stop = new AbortController();
  const done = runCli(
    line.split(' ').filter((word) => word !== ''),
    {
      local: { ...LOCAL, ...local },
      stdout: { write: write((text) => (out += text)), isTty, ...size },
      stderr: { write: write((text) => (err += text)), isTty, ...size },
      env,
      socket,
      version: '0.1.0',
      cwd,
      signal: stop.signal,
    },
  ).then((code) => ({ code, out, err }));
  const until = async (pattern: RegExp): Promise<void> => {
    while (!pattern.test(out + err))
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
  };
  return { done, stop, out: () => out, err: () => err, until };
}

export const ok = ({ code, out, err }: Ran): string => {
  assert.equal(code, 0, out + err);
  return out;
};
