import type { LocalCommands } from '#cli/mod.ts';
import { demo } from './demo.ts';
import { examine } from './doctor.ts';
import { exportFile } from './export.ts';
import { loadConfig } from './load-config.ts';
import { findingLines, type Terminal } from './output.ts';
import { cacheFolder, pathsOf } from './paths.ts';
import { up } from './up.ts';

type Options = {
  readonly terminal: Terminal;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** How to start this very program again: node and its script. */
  readonly self: readonly string[];
};

/** The commands that are this process itself and not a question to a running server. */
export function localCommands({ terminal, env, self }: Options): LocalCommands {
  return {
    up: (request) => up({ ...request, terminal, env }),
    demo: ({ firmware }) => demo({ firmware, terminal, env, self, cacheFolder: cacheFolder(env) }),
    doctor: async ({ config, json }) => {
      const loaded = loadConfig(config);
      const paths = pathsOf(loaded.config, env, process.getuid?.() === 0);
      const findings = await examine(loaded, paths, env['PATH'] ?? '');
      const text = json
        ? JSON.stringify(findings, undefined, 2)
        : findingLines(terminal, findings).join('\n');
      terminal.out(`${text}\n`);
      return findings.some((f) => f.level === 'fail') ? 1 : 0;
    },
    export: (request) => exportFile({ ...request, terminal }),
  };
}
