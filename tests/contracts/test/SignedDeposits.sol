// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IEscrow} from "./Escrow.sol";
import {Rig} from "./Rig.sol";

/// @title The two ways to pay in by signature, and what the token wants to see signed.
abstract contract SignedDeposits is Rig {
    /// @dev The arguments of both calls in their order, so that one `abi.encode` makes the call.
    struct Permitted {
        Sides to;
        uint96 amount;
        uint256 deadline;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    struct Authorized {
        Sides to;
        uint96 amount;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 salt;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    function _permitted(uint256 key, Sides memory to, uint96 amount, uint256 deadline)
        internal
        view
        returns (Permitted memory made)
    {
        bytes32 kind =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        address owner = vm.addr(key);
        bytes32 inner = keccak256(abi.encode(kind, owner, address(escrow), amount, token.nonces(owner), deadline));
        made = Permitted(to, amount, deadline, 0, 0, 0);
        (made.v, made.r, made.s) = vm.sign(key, _ofToken(inner));
    }

    /// @dev Good for the 500 seconds before `until`.
    function _authorized(uint256 key, Sides memory to, uint96 amount, bytes32 salt, uint256 until)
        internal
        view
        returns (Authorized memory made)
    {
        bytes32 kind = keccak256(
            "ReceiveWithAuthorization(address from,address to,uint256 value,"
            "uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
        bytes32 lane = keccak256(abi.encodePacked(to.payer, to.provider, to.signer));
        bytes32 nonce = keccak256(abi.encodePacked(lane, salt));
        bytes32 inner = keccak256(abi.encode(kind, to.payer, address(escrow), amount, until - 500, until, nonce));
        made = Authorized(to, amount, until - 500, until, salt, 0, 0, 0);
        (made.v, made.r, made.s) = vm.sign(key, _ofToken(inner));
    }

    function _ofToken(bytes32 inner) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), inner));
    }

    function _call(Permitted memory made) internal pure returns (bytes memory) {
        return bytes.concat(IEscrow.depositWithPermit.selector, abi.encode(made));
    }

    function _call(Authorized memory made) internal pure returns (bytes memory) {
        return bytes.concat(IEscrow.depositWithAuthorization.selector, abi.encode(made));
    }
}
