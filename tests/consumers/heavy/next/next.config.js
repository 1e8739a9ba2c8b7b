// The packages lie in the folder above, as in a workspace.
module.exports = { turbopack: { root: require("node:path").join(__dirname, "../..") } };
