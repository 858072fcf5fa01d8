import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { need } from '../../test/lab/need.ts';
import { LAYERS } from './imports.ts';
import { checkTree } from './rules.ts';
import { readTree, type SourceFile } from './tree.ts';

const file = (path: string, text: string): SourceFile => ({ path, text, lines: text.split('\n') });
const rulesOf = (path: string, text: string): string[] =>
  checkTree([file(path, text)]).map((f) => f.rule);

test('each rule fires on what it forbids', () => {
  assert.deepEqual(rulesOf('src/dhcp/a.ts', `import { x } from '#iscsi/mod.ts';`), ['imports']);
  assert.deepEqual(rulesOf('src/dhcp/a.ts', `import { x } from '#base/errors.ts';`), ['imports']);
  assert.deepEqual(rulesOf('src/dhcp/a.ts', `import { x } from '../base/mod.ts';`), ['imports']);
  assert.deepEqual(rulesOf('src/dhcp/a.ts', `const m = await import('#iscsi/mod.ts');`), [
    'imports',
  ]);
  assert.deepEqual(rulesOf('src/base/a.ts', `import {\n  x,\n} from '#os/mod.ts';`), ['imports']);
  assert.deepEqual(rulesOf('src/unheard/a.ts', `import { x } from '#base/mod.ts';`), ['imports']);
  assert.deepEqual(rulesOf('src/dhcp/a.ts', `process.exit(1);`), ['banned']);
  assert.deepEqual(rulesOf('src/dhcp/a.ts', `let state = 1;`), ['banned']);
  assert.deepEqual(rulesOf('src/dhcp/a.ts', `throw new Error('x');`), ['banned']);
  assert.deepEqual(rulesOf('src/dhcp/a.ts', `export function f(): void {}`), ['public-docs']);
  assert.deepEqual(rulesOf('src/dhcp/a.ts', '\n'.repeat(401)), ['file-size']);
  const long = `/** x */\nexport function f(): void {\n${'  g();\n'.repeat(80)}}\n`;
  assert.deepEqual(rulesOf('src/dhcp/a.ts', long), ['function-size']);
});

test('what is allowed passes', () => {
  assert.deepEqual(rulesOf('src/dhcp/a.ts', `import { x } from '#base/mod.ts';`), []);
  assert.deepEqual(rulesOf('src/dhcp/a.ts', `import { x } from './b.ts';`), []);
  assert.deepEqual(rulesOf('src/app/a.ts', `import { x } from '#iscsi/mod.ts';`), []);
  assert.deepEqual(rulesOf('src/dhcp/a.ts', `// process.exit( is forbidden`), []);
  assert.deepEqual(rulesOf('test/x.ts', `throw new Error('x');`), []);
});

test('the checker sees the whole tree and every folder of it has a layer', async () => {
  const files = await readTree(process.cwd());
  const folders = new Set(
    files
      .map((f) => f.path.split('/'))
      .filter((p) => p[0] === 'src' && p.length > 2)
      .map((p) => p[1] ?? ''),
  );
  for (const folder of folders)
    assert.ok(LAYERS[folder] !== undefined, `src/${folder} has no layer`);
});

test('a checkout of another owner is read too', async (t) => {
  if (!need(t, { root: true, tools: ['git'] })) return;
  const root = mkdtempSync(join(tmpdir(), 'polyboot-tree-'));
  t.after(() => {
    rmSync(root, { recursive: true });
  });
  mkdirSync(join(root, 'src'));
  writeFileSync(join(root, 'src/a.ts'), '');
  execFileSync('git', ['init', '-q'], { cwd: root });
  execFileSync('git', ['add', '.'], { cwd: root });
  for (const path of ['', '.git', 'src']) chownSync(join(root, path), 12345, 12345);
  assert.deepEqual(
    (await readTree(root)).map((f) => f.path),
    ['src/a.ts'],
  );
});
