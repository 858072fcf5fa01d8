import { execFile } from 'node:child_process';
import { glob, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

export type SourceFile = {
  /** Relative to the root, with slashes. */
  readonly path: string;
  readonly text: string;
  readonly lines: readonly string[];
};

const ROOTS = ['src', 'test', 'bench', 'tools'];

/**
 * Reads every TypeScript file of the project. Throws when it saw fewer than git tracks: a check
 * that read nothing must not pass.
 */
export async function readTree(root: string): Promise<SourceFile[]> {
  const files: SourceFile[] = [];
  for await (const path of glob(`{${ROOTS.join(',')}}/**/*.ts`, { cwd: root })) {
    const text = await readFile(`${root}/${path}`, 'utf8');
    files.push({ path, text, lines: text.split('\n') });
  }
  const { stdout } = await promisify(execFile)(
    'git',
    // Of another owner, as a container's root finds its checkout: only names are asked for.
    ['-c', 'safe.directory=*', 'ls-files', '--', ...ROOTS.map((r) => `${r}/*.ts`)],
    {
      cwd: root,
      maxBuffer: 16 * 1024 * 1024,
    },
  );
  const seen = new Set(files.map((f) => f.path));
  const missed = stdout.split('\n').filter((p) => p !== '' && !seen.has(p));
  if (files.length === 0 || missed.length > 0) {
    throw new Error(`the checker saw ${files.length} files and missed: ${missed.join(', ')}`);
  }
  return files.sort((a, b) => a.path.localeCompare(b.path));
}
