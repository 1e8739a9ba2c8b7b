// Small documents in formats that are not text.

import { strToU8, type Zippable, zipSync } from "fflate";

const WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"';

/** As a German Word writes it: the id of a style is in its language, the name is not. */
const STYLES = `<?xml version="1.0" encoding="UTF-8"?>
<w:styles ${WORD}>
  <w:style w:type="paragraph" w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style>
  <w:style w:type="paragraph" w:styleId="berschrift2"><w:name w:val="heading 2"/></w:style>
  <w:style w:type="paragraph" w:styleId="Eigene"><w:name w:val="My heading"/><w:basedOn w:val="berschrift2"/></w:style>
</w:styles>`;

/** A Word document with this body; `parts` are further files in it, or others in place of its own. */
export function docx(body: string, parts: Zippable = {}): Uint8Array<ArrayBuffer> {
  return zipSync({
    "[Content_Types].xml": strToU8('<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'),
    "word/document.xml": strToU8(`<w:document ${WORD}><w:body>${body}</w:body></w:document>`),
    "word/styles.xml": strToU8(STYLES),
    ...parts,
  });
}

/** A paragraph of one run. */
export function paragraph(text: string, properties = ""): string {
  return `<w:p><w:pPr>${properties}</w:pPr><w:r><w:t xml:space="preserve">${text}</w:t></w:r></w:p>`;
}

export interface PdfText {
  text: string;
  /** In points. Default: 12. */
  size?: number;
  /** From the bottom of the page. */
  y: number;
}

export interface PdfOptions {
  title?: string;
  /** With a password that nobody knows. */
  isEncrypted?: boolean;
  /** A font for Japanese whose codes only a character map explains: the texts are hexadecimal in Shift_JIS. */
  isJapanese?: boolean;
}

/** A PDF whose pages have these lines. */
export function pdf(pages: readonly (readonly PdfText[])[], options: PdfOptions = {}): Uint8Array<ArrayBuffer> {
  const font = options.isJapanese
    ? "<</Type/Font/Subtype/Type0/BaseFont/Ryumin-Light/Encoding/90ms-RKSJ-H/DescendantFonts[<</Type/Font/Subtype/CIDFontType0" +
      "/BaseFont/Ryumin-Light/CIDSystemInfo<</Registry(Adobe)/Ordering(Japan1)/Supplement 2>>/FontDescriptor<</Type" +
      "/FontDescriptor/FontName/Ryumin-Light/Flags 4/FontBBox[0 0 1000 1000]/ItalicAngle 0/Ascent 800/Descent -200" +
      "/CapHeight 700/StemV 80>>>>]>>"
    : "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>";
  const objects = [
    "<</Type/Catalog/Pages 2 0 R>>",
    `<</Type/Pages/Count ${pages.length}/Kids[${pages.map((_, index) => `${5 + index * 2} 0 R`).join(" ")}]>>`,
    font,
    `<</Title(${options.title ?? ""})>>`,
  ];
  for (const [index, lines] of pages.entries()) {
    const shown = lines.map(({ text, size = 12, y }) => {
      const string = options.isJapanese ? `<${text}>` : `(${text.replace(/[()\\]/g, "\\$&")})`;
      return `BT /F1 ${size} Tf 1 0 0 1 72 ${y} Tm ${string} Tj ET`;
    });
    const content = shown.join("\n");
    const page = "/Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F1 3 0 R>>>>";
    objects.push(`<<${page}/Contents ${6 + index * 2} 0 R>>`);
    objects.push(`<</Length ${content.length}>>stream\n${content}\nendstream`);
  }
  let file = "%PDF-1.4\n";
  const offsets = objects.map((object, index) => {
    const offset = file.length;
    file += `${index + 1} 0 obj\n${object}\nendobj\n`;
    return offset;
  });
  const start = file.length;
  const table = offsets.map((offset) => `${String(offset).padStart(10, "0")} 00000 n \n`).join("");
  const zeros = "0".repeat(64);
  const encryption = `/Encrypt<</Filter/Standard/V 1/R 2/O<${zeros}>/U<${zeros}>/P -1>>/ID[<00><00>]`;
  file += `xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${table}trailer\n<</Size ${objects.length + 1}/Root 1 0 R`;
  file += `/Info 4 0 R${options.isEncrypted ? encryption : ""}>>\nstartxref\n${start}\n%%EOF\n`;
  return Uint8Array.from(file, (character) => character.charCodeAt(0));
}
