import type { LocalCommands } from '#cli/mod.ts';
import { findingLines, type Terminal } from './output.ts';
import { cacheFolder, pathsOf, runtimeFolder } from './paths.ts';

type Options = {
  readonly terminal: Terminal;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** How to start this very program again: node and its script. */
  readonly self: readonly string[];
  /** Aborts at Ctrl-C. */
  readonly signal: AbortSignal;
};

/**
 * The commands that are this process itself and not a question to a running server. Each loads what
 * it needs when it runs: `machine list` must not wait for a DHCP server to load.
 */
export function localCommands({ terminal, env, self, signal }: Options): LocalCommands {
  const runtime = (): string => runtimeFolder(env, process.getuid?.() === 0);
  return {
    up: async (request) => {
      const { up } = await import('./up.ts');
      return await up({ ...request, terminal, env });
    },
    demo: async ({ firmware }) => {
      const { demo } = await import('./demo.ts');
      return await demo({ firmware, terminal, env, self, signal, cacheFolder: cacheFolder(env) });
    },
    doctor: async ({ config, json }) => {
      const { examine } = await import('./doctor.ts');
      const { loadConfig } = await import('./load-config.ts');
      const loaded = loadConfig(config);
      const paths = pathsOf(loaded.config, env, process.getuid?.() === 0);
      const findings = await examine(loaded, paths, env['PATH'] ?? '');
      const text = json
        ? JSON.stringify(findings, undefined, 2)
        : findingLines(terminal, findings).join('\n');
      terminal.out(`${text}\n`);
      return findings.some((f) => f.level === 'fail') ? 1 : 0;
    },
    export: async (request) => {
      const { exportFile } = await import('./export.ts');
      return await exportFile({ ...request, terminal });
    },
    install: async (request) => {
      const { install } = await import('./install/install.ts');
      return await install({ ...request, terminal, runtimeFolder: runtime() });
    },
    steerInstall: async ({ name, action }) => {
      const { InstallSessions } = await import('./install/sessions.ts');
      const { steer } = await import('./install/control.ts');
      return await steer(new InstallSessions(runtime()).find(name), action);
    },
    installs: async () => {
      const { InstallSessions } = await import('./install/sessions.ts');
      return new InstallSessions(runtime()).list();
    },
  };
}
