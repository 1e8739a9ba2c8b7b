// What `liked` and `disliked` do to searches in the demo's ready corpus of facts: `cargo xtask corpora --check`.
//
//   node --import tsx tests/bench/feedback.ts MODEL_DIR FACTBOOK_DIR
//
// Each passage says which field of a country's profile it is of ("Chad, religions: …"). A query asks for a field in other words, and
// a passage of that field is what it means. A user likes the first hit that is, and dislikes the first ones that are not, where
// there are any among the 100 best. Documents that were liked or disliked are left out of both lists that are compared, as in
// residual collection evaluation (Salton and Buckley 1990).

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import sirv from "sirv";

import { Embedder } from "embervec";
import { SearchIndex, type SearchHit } from "embervec/search";

const [modelDir, indexDir] = process.argv.slice(2);
if (indexDir === undefined) throw new Error("usage: feedback.ts MODEL_DIR FACTBOOK_DIR");

/** By the fields' names in crate/corpora/src/factbook.rs. */
const QUERIES: Record<string, string> = {
  climate: "is it hot or rainy there",
  terrain: "mountains and plains",
  "natural resources": "what lies in the ground and can be mined",
  "natural hazards": "earthquakes and storms that strike",
  environment: "dirty water and lost forests",
  "ethnic groups": "which peoples live there",
  languages: "what do they speak",
  religions: "what do people believe in",
  "infectious diseases": "which illnesses can a traveller catch",
  government: "who rules, a king or a parliament",
  "national holiday": "the day on which the nation celebrates",
  flag: "colours and stripes on the banner",
  "national anthem": "the song of the nation",
  agriculture: "what farmers grow",
  industries: "what factories make",
  exports: "goods that are sold abroad",
  "television and radio": "channels that one can watch and hear",
  "military service": "at what age do men become soldiers",
  disputes: "quarrels about borders",
  refugees: "people who fled from a war",
  "human trafficking": "persons who are sold and forced to work",
  "illicit drugs": "smuggling of cocaine",
};
/** Hits of a list that is judged. */
const TOP = 100;
/** Enough to fill the list after the documents of the feedback have left it. */
const ASKED = 300;

const server = createServer(sirv(indexDir));
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
const embedder = await Embedder.load(modelDir!, { device: "cpu" });
const index = await SearchIndex.fetch(address, { embedder });

const isOf = (field: string) => (hit: SearchHit) => hit.text.slice(0, hit.text.indexOf(": ")).endsWith(`, ${field}`);
const CASES: Record<string, [liked: number, disliked: number]> = {
  "1 liked": [1, 0],
  "3 liked": [3, 0],
  "1 disliked": [0, 1],
  "3 disliked": [0, 3],
  "1 liked, 1 disliked": [1, 1],
  "3 liked, 3 disliked": [3, 3],
};

console.log(`| feedback | queries | precision@${TOP} without it | with it | better | worse | share of the query |`);
console.log("| --- | --: | --: | --: | --: | --: | --: |");
for (const [name, [likes, dislikes]] of Object.entries(CASES)) {
  const before: number[] = [];
  const after: number[] = [];
  let share = 0;
  for (const [field, query] of Object.entries(QUERIES)) {
    const options = { topK: ASKED, mode: "semantic" } as const;
    const { hits } = await index.search(query, options);
    const shown = hits.slice(0, TOP);
    const idsOf = (wanted: boolean, count: number) =>
      [...new Set(shown.filter((hit) => isOf(field)(hit) === wanted).map(({ id }) => id))].slice(0, count);
    const [liked, disliked] = [idsOf(true, likes), idsOf(false, dislikes)];
    if (liked.length < likes || disliked.length < dislikes) continue;
    const moved = await index.search(query, { ...options, liked, disliked });
    const seen = new Set([...liked, ...disliked]);
    const precision = (hits: SearchHit[]) =>
      hits
        .filter(({ id }) => !seen.has(id))
        .slice(0, TOP)
        .filter(isOf(field)).length / TOP;
    before.push(precision(hits));
    after.push(precision(moved.hits));
    share = moved.queryShare!;
  }
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const better = after.filter((value, i) => value > before[i]!).length;
  const worse = after.filter((value, i) => value < before[i]!).length;
  const cells = [name, before.length, mean(before).toFixed(3), mean(after).toFixed(3), better, worse, share.toFixed(2)];
  console.log(`| ${cells.join(" | ")} |`);
}
await index.close();
await embedder.dispose();
server.close();
